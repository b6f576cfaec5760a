"""Nights: what is new is scored, a candidate chosen given what is accepted, tested once, and promoted or not."""

import json
import shutil
from datetime import date

import polars as pl
import pytest

import curate
import curate.nightly.night
from curate.comparison.promotion import Promotion, level
from curate.errors import CurateError, InputError
from curate.nightly import State, read_nightly, run_night
from curate.nightly.night import NightFailed

DAY = date(2026, 3, 1)
RECIPE = """
pool: inbox
state: state
model: {model}
select: {{method: {method}, budget: 20%}}
keep: {keep}
refit: never
gate: {{evals: {{dev: dev.jsonl, more: more.jsonl}}, parts: 2, seeds: 2, tokens: 60, train: {{batch_tokens: 60}}}}
{more}
"""


@pytest.fixture
def place(tmp_path, make_pool, tiny):
    """A folder with a recipe, an empty inbox and two gate files; `night` runs it, `arrive` brings conversations."""
    (tmp_path / "inbox").mkdir()
    make_pool(range(1000, 1012), name="dev.jsonl")
    make_pool(range(2000, 2012), name="more.jsonl")

    class Place:
        folder = tmp_path
        state = State(tmp_path / "state")

        def arrive(self, numbers, name):
            shutil.move(make_pool(numbers, name=name), tmp_path / "inbox" / name)

        def recipe(self, method="longest", keep=0.5, more=""):
            (tmp_path / "nightly.yaml").write_text(RECIPE.format(model=tiny, method=method, keep=keep, more=more))
            return read_nightly(tmp_path / "nightly.yaml")

        def night(self, day=DAY, engine=None, **recipe):
            engine = engine or curate.Engine(store=curate.Store(tmp_path / "store"), device="cpu")
            return run_night(self.recipe(**recipe), engine=engine, day=day)

        def picks(self, night):
            return pl.read_parquet(self.state.path(night) / "candidate" / "selection.parquet")

    return Place()


@pytest.fixture
def decided(monkeypatch):
    """The rule's answer as a test wants it."""

    def so(promote):
        answer = lambda difference, level, *, lower_is_better: Promotion(promote, 0.1, 0.05 if promote else -0.05, 0.01, level)  # noqa: E731
        monkeypatch.setattr(curate.nightly.night, "decide", answer)

    return so


@pytest.fixture
def untrained(monkeypatch, decided):
    """No comparison is made, as for most of a night nothing hangs on its numbers: it leaves a folder and the answer wanted.

    Gives what comparisons were asked for.
    """
    asked = []

    class Verdict:
        headline, evidence = "a verdict", True

        def write(self, folder):
            folder.mkdir()

    def compare(pool, methods, **more):
        asked.append({"pool": pool, "methods": methods, **more})
        return Verdict()

    monkeypatch.setattr(curate.nightly.night, "compare", compare)
    monkeypatch.setattr(curate.nightly.night, "conclude", lambda folder: Verdict())
    monkeypatch.setattr(curate.nightly.night, "between", lambda *arms: None)
    monkeypatch.setattr(curate.nightly.night, "better_is_lower", lambda evidence: True)
    decided(False)
    return asked


def test_a_first_night_and_a_better_second(place, decided):
    place.arrive(range(20), "a.jsonl")
    first = place.night()
    assert first.name == "2026-03-01-1" and first.decision["promoted"] and "without a test" in first.decision["reason"]
    assert place.state.accepted().night == first.name and place.state.ledger() == []
    assert (first.decision["rows_new"], first.decision["rows_selected"]) == (20, 4)

    place.arrive(range(20, 40), "b.jsonl")
    decided(True)
    second = place.night(more="train: {steps: 1, batch_tokens: 60}")
    assert second.name == "2026-03-01-2" and second.decision["promoted"]
    assert second.decision["new_files"] == [str(place.folder / "inbox" / "b.jsonl")] and second.decision["rows_new"] == 20
    assert (second.decision["rows_selected"], second.decision["rows_kept"]) == (8, 2)

    picks = place.picks(second.name)
    assert picks["rank"].to_list() == list(range(1, 9)) and picks["row_id"].n_unique() == 8
    assert picks["row_id"][:2].to_list() == place.picks(first.name)["row_id"][:2].to_list()  # the first half stays
    assert set(picks["reason"][:2]) == {"kept from the accepted selection"} and not any("kept" in r for r in picks["reason"][2:])

    [test] = place.state.ledger()
    assert test["promoted"] and (test["test"], test["gate"], test["against"]) == (1, "dev-1-of-2", first.name)
    assert test["level"] == level(1, 0.05, "even")
    accepted = place.state.accepted()
    assert accepted.night == second.name and (accepted.model / "training.json").is_file()
    assert json.loads((second.folder / "decision.json").read_text())["test"] == test
    verdict = {arm["method"]: arm for arm in json.loads((second.folder / "verdict" / "verdict.json").read_text())["arms"]}
    assert set(verdict) == {"random", "accepted", "candidate", "untrained"}
    tokens = [verdict[arm]["train_tokens"] for arm in ("random", "accepted", "candidate")]
    assert max(tokens) - min(tokens) <= 30  # a conversation
    assert verdict["accepted"]["rows"] == 4 and verdict["candidate"]["rows"] == 8
    assert len(curate.read_pool(accepted.selection / "data.parquet")) == 8


def test_what_is_no_better_stays_out_and_gates_take_turns(place, untrained):
    for n in range(4):
        place.arrive(range(30 * n, 30 * (n + 1)), f"{n}.jsonl")
        night = place.night()
        assert night.decision["promoted"] == (n == 0)
    assert place.state.accepted().night == "2026-03-01-1" and len(place.state.nights()) == 4
    gates = [test["gate"] for test in place.state.ledger()]
    assert gates == [one["evals"][0].name for one in untrained] == ["dev-1-of-2", "more-1-of-2", "dev-2-of-2"]
    assert [len(method.picks.row_ids) for method in untrained[-1]["methods"]] == [6, 24] and untrained[-1]["budgets"] == [24]
    assert not any((place.state.path(name) / "model").exists() for name in place.state.nights())


def test_the_parts_of_a_gate_are_the_whole_and_disjoint(place):
    run = curate.nightly.night._Run(place.recipe(), None, place.state, "x", {})
    gates = run._gates()
    dev = set(curate.read_pool(place.folder / "dev.jsonl").row_ids)
    one, two = (set(gates[f"dev-{part}-of-2"].pool.row_ids) for part in (1, 2))
    assert one and two and not one & two and one | two == dev


def test_nothing_new_and_nothing_else_spend_nothing(place, untrained):
    place.arrive(range(20), "a.jsonl")
    place.night()
    idle = place.night(day=date(2026, 3, 2))
    assert not idle.decision["promoted"] and idle.decision["reason"].startswith("nothing came")
    place.arrive([5, 6, 1], "b.jsonl")  # rows that are there already
    assert place.night(day=date(2026, 3, 3)).decision["reason"].startswith("nothing came")
    place.arrive([200], "c.jsonl")  # one row of one sentence: the longest stay the longest
    assert place.night(day=date(2026, 3, 4)).decision["reason"] == "the candidate is what is accepted"
    assert place.state.ledger() == [] and place.state.accepted().night == "2026-03-01-1"


def test_only_new_rows_are_forwarded_and_fits_are_kept(place, decided):
    """lobass: a fit on the pool and two passes. One row in a hundred comes: at most 1.5% of the tokens are forwarded."""
    decided(False)
    place.arrive(range(300), "a.jsonl")
    first = place.night(method="lobass", keep=0).decision
    assert first["rows_forwarded"] == 600 and first["rows_reused"] == 0 and first["tokens_trained_to_score"] > 0
    place.arrive(range(300, 303), "b.jsonl")
    second = place.night(method="lobass", keep=0).decision
    assert second["rows_forwarded"] == 6 and second["rows_reused"] == 600 and second["tokens_trained_to_score"] == 0
    assert 0 < second["tokens_forwarded"] <= 0.015 * first["tokens_forwarded"]
    [fit] = second["fits"]
    assert fit["rows"] == {"fitted_on": 300, "scored": 303, "scored_and_fitted_on": 300}


def test_given_what_stays_facility_location_takes_what_that_lacks(place, decided):
    """Against the slow way: the method itself, asked for rows beside what stays, with that as existing data."""
    decided(False)
    place.arrive(range(20), "a.jsonl")
    first = place.night(method="facility-location")
    place.arrive(range(20, 40), "b.jsonl")
    second = place.night(method="facility-location")
    kept = place.picks(first.name)["row_id"][:2].to_list()
    pool = curate.read_pool(place.folder / "inbox")
    others = pool.subset([row_id for row_id in pool.row_ids if row_id not in kept])
    engine = curate.Engine(store=curate.Store(place.folder / "store"), device="cpu")
    model = place.recipe().model
    asked = {"budget": 6, "model": model, "engine": engine}
    by_hand = curate.select(others, "facility-location", existing=pool.subset(kept), **asked)
    assert place.picks(second.name)["row_id"].to_list() == kept + by_hand.frame["row_id"].to_list()
    assert by_hand.frame["row_id"].to_list() != curate.select(others, "facility-location", **asked).frame["row_id"].to_list()


def stopped_at(monkeypatch, name, error):
    """The function of a night by that name fails once it is called."""

    def fail(*args, **more):
        raise error

    monkeypatch.setattr(curate.nightly.night, name, fail)


def test_a_killed_night_goes_on_where_it_was(place, decided, untrained, monkeypatch):
    decided(True)
    place.arrive(range(20), "a.jsonl")
    place.night()
    place.arrive(range(20, 40), "b.jsonl")
    with monkeypatch.context() as patched:
        stopped_at(patched, "compare", KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            place.night()
    assert place.state.unfinished() == "2026-03-01-2" and place.state.accepted().night == "2026-03-01-1"
    assert [test.get("promoted") for test in place.state.ledger()] == [None]
    before = (place.state.path("2026-03-01-2") / "candidate" / "selection.parquet").stat().st_mtime_ns

    place.arrive(range(60, 80), "c.jsonl")  # came meanwhile: of the next night
    with monkeypatch.context() as patched:
        stopped_at(patched, "train", KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            place.night(day=date(2026, 3, 2), more="train: {steps: 1}")  # another recipe: this is a new night
    assert place.state.nights()[-1] == "2026-03-02-1"
    assert "recipe changed" in (place.state.path("2026-03-01-2") / "failed.json").read_text()
    assert [test.get("promoted") for test in place.state.ledger()] == [True] and len(untrained) == 1
    again = place.night(day=date(2026, 3, 3), more="train: {steps: 1}")  # killed after its verdict: that is read, not made again
    assert again.name == "2026-03-02-1" and again.decision["rows_new"] == 40 and again.decision["promoted"]
    assert (
        len(untrained) == 1
        and [test["test"] for test in place.state.ledger()] == [1]
        and place.state.accepted().night == again.name
    )
    assert (place.state.path("2026-03-01-2") / "candidate" / "selection.parquet").stat().st_mtime_ns == before


def test_a_failed_night_names_what_failed_and_the_next_begins_anew(place, decided, untrained, monkeypatch):
    decided(True)
    place.arrive(range(20), "a.jsonl")
    place.night()
    place.arrive(range(20, 40), "b.jsonl")
    with monkeypatch.context() as patched:
        stopped_at(patched, "compare", CurateError("the arm candidate 8 seed 1 gave no finite loss"))
        with pytest.raises(NightFailed, match=r"^nights/2026-03-01-2/verdict could not be made: the arm candidate 8 seed 1"):
            place.night()
    failed = json.loads((place.state.path("2026-03-01-2") / "failed.json").read_text())
    assert failed["artifact"] == "nights/2026-03-01-2/verdict"
    night = place.night()
    assert night.name == "2026-03-01-3" and night.decision["rows_new"] == 20 and night.decision["promoted"]
    assert [test["night"] for test in place.state.ledger()] == [night.name]  # the level was not spent twice


def test_new_rows_that_cannot_be_used_stop_the_night(place):
    place.arrive(range(20), "a.jsonl")
    place.night()
    (place.folder / "inbox" / "b.jsonl").write_text('{"messages": []}\n' * 3)
    with pytest.raises(
        NightFailed, match=r"the pool could not be made: 3 of the 3 rows of new files cannot be used.*b.jsonl lines 1, 2, 3"
    ):
        place.night()
    assert place.state.accepted().night == "2026-03-01-1"
    assert place.night(more="max_rejected: 1").decision["reason"].startswith("nothing came")


def test_rows_that_are_gone_are_judged_without(place, untrained):
    place.arrive(range(10), "a.jsonl")
    place.arrive(range(10, 20), "b.jsonl")
    first = place.night()
    (place.folder / "inbox" / "b.jsonl").unlink()
    decision = place.night().decision
    assert decision["rows_gone"] == 10 and not decision["rows_new"]
    there = set(curate.read_pool(place.folder / "inbox").row_ids)
    gone = sum(row_id not in there for row_id in place.picks(first.name)["row_id"])
    assert gone and any(f"{gone} row" in note and "judged without" in note for note in decision["notes"])


def test_rows_of_the_gate_are_not_chosen_from(place):
    place.arrive([*range(20), 1000, 1001, 2003], "a.jsonl")
    decision = place.night().decision
    assert (decision["rows_read"], decision["rows_chosen_from"]) == (23, 20)


def test_what_a_kill_leaves_before_a_night_began_is_no_night(place):
    place.arrive(range(20), "a.jsonl")
    place.state.path("2026-03-01-1").mkdir(parents=True)  # the folder is there, what it begins with is not
    (place.state.folder / "nights" / "notes").mkdir()
    night = place.night()
    assert night.decision["promoted"] and place.state.nights() == [night.name]


def test_one_night_at_a_time(place):
    place.arrive(range(20), "a.jsonl")
    with place.state.lock(), pytest.raises(InputError, match="another night of .*state is running"):
        place.night()
    assert place.night().decision["promoted"]


def test_a_state_in_its_own_pool_is_refused(place):
    place.arrive(range(5), "a.jsonl")
    with pytest.raises(InputError, match="lies in the pool"):
        run_night(place.recipe().model_copy(update={"state": "inbox/state"}), engine=curate.Engine())


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("keep: 0.5", "keep: 2", "key 'keep'"),
        ("refit: never", "refit: always", "key 'refit': it must be 'never' or 'drift', not 'always'"),
        ("budget: 20%", "budget: 0", "would pick nothing"),
        ("method: longest", "method: longset", "did you mean longest"),
        ("seeds: 2", "seeds: 1", "key 'gate.seeds'"),
        ("seeds: 2", "alpha: 0.7", "key 'gate.alpha'"),
        ("seeds: 2", "spending: quick", "it must be 'even', 'slow' or 'basel'"),
        ("tokens: 60", "tokens: 60, epochs: 2", "give tokens or epochs, not both"),
        ("state: state", "stages: []", "there is no key 'stages'"),
        ("refit: never", "refine: {repeat: {s0: 2}}", "repeat is not for nights"),
    ],
)
def test_a_recipe_at_fault_is_said_in_one_sentence(place, old, new, said):
    place.recipe()
    text = (place.folder / "nightly.yaml").read_text()
    assert old in text
    (place.folder / "nightly.yaml").write_text(text.replace(old, new))
    with pytest.raises(InputError, match="nightly.yaml: ") as caught:
        read_nightly(place.folder / "nightly.yaml")
    assert said in str(caught.value) and "\n" not in str(caught.value)
