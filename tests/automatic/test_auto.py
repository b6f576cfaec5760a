"""A search from end to end: on a tiny model, and on results made by hand, where its clock is ours too."""

import json
import sys

import numpy as np
import polars as pl
import pytest

import curate
from curate.automatic import Outcome, search
from curate.automatic.schedule import Rates
from curate.cli import _main
from curate.comparison.arms import ArmPiece, ArmResult, Bench
from curate.comparison.choosing import Cost
from curate.errors import CurateError, InputError
from curate.training.config import TrainConfig

ACCOUNT = {
    "tokens": 100,
    "loss_tokens": 50,
    "epochs": 1.0,
    "steps": 2,
    "flops": 1e6,
    "evaluate_tokens": 10,
    "evaluate_flops": 1e3,
}


def test_auto_from_end_to_end(capsys, monkeypatch, tmp_path, make_pool, tiny):
    make_pool(range(60))
    make_pool(range(100, 130), name="dev.jsonl")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    words = [
        "auto", "pool.jsonl", "--methods", "longest,perplexity", "--budget", "20%", "--spend", "1e10FLOPs", "--tokens", "200",
        "--batch-tokens", "100", "--model", str(tiny), "--eval", "dev.jsonl", "--store", "store",
    ]  # fmt: skip

    def call(*more):
        monkeypatch.setattr(sys, "argv", ["curate", *words, *more])
        capsys.readouterr()
        return _main([*words, *more]), *capsys.readouterr()

    code, out, err = call("--out", "out", "--json")
    assert (code, err) == (0, "") and out.count("\n") == 1
    found = json.loads(out)

    # What is written is what was printed.
    folder = tmp_path / "out"
    assert found == {**json.loads((folder / "auto.json").read_text()), "out": "out"}
    outcome = Outcome.load(folder)
    assert outcome.to_dict() == {name: value for name, value in found.items() if name != "out"}
    assert outcome.frame.equals(pl.read_parquet(folder / "ladder.parquet")) and len(outcome.frame) == 3

    # One rung, random beside it; one arm falls, for a reason with its numbers.
    [rung] = found["rungs"]
    assert [line["kept"] for line in rung["standings"]] == [True, False, None]
    best, worse, random = rung["standings"]
    assert {best["method"], worse["method"]} == {"longest", "perplexity"} and random["method"] == "random"
    assert best["value"] < worse["value"] and worse["diff"] == pytest.approx(worse["value"] - random["value"])
    assert best["ci_low"] < best["diff"] < best["ci_high"] and rung["cut"] == best["value"]
    [fallen] = found["discarded"]
    assert {**fallen, "kept": False} == {**worse, "rung": 1, "cut": best["value"]}
    assert f"{worse['value']:.3f}" in fallen["reason"] and f"{best['value']:.3f} or better" in fallen["reason"]

    # The confirmation is a comparison of the winner and of nothing else, on other items and seeds.
    verdict = json.loads((folder / "confirmation" / "verdict.json").read_text())
    arm = next(arm for arm in verdict["arms"] if arm["method"] == best["method"])
    kinds = {arm["kind"] for arm in verdict["arms"]} - {"control", "method"}
    assert kinds == {"random", "length-matched", "untrained"} and len(verdict["arms"]) == 4
    assert arm["p_holm"] == arm["p_value"] == found["tested"]["p_value"] and arm["answer"] == found["tested"]["answer"]
    assert not set(verdict["config"]["seeds"]) & set(rung["seeds"]) and len(verdict["config"]["seeds"]) >= 3
    items = pl.read_parquet(folder / "confirmation" / "evidence" / "items.parquet")
    assert items.height == found["tested"]["items"] == 15 == rung["items"]
    assert found["spend"]["spent"] <= found["spend"]["asked"] == 1e10
    assert (folder / "picked" / "data.jsonl").is_file() == (found["answer"] != "undecided")

    # The same command again trains nothing and says the same.
    def not_again(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(ArmPiece, "trained", not_again)
    code, out, _ = call("--out", "again")
    assert code == 0 and Outcome.load(tmp_path / "again").rungs == found["rungs"]
    assert found["sentence"][:40] in " ".join(out.replace("│", " ").split())
    assert "Rung 1: 200 tokens, 1 seed, 15 items" in out and "Spent" in out and "falls" in out
    code, out, _ = call("--plan")
    assert code == 0 and "rung 1: 2 arms and random" in out and "confirmation: the winner" in out
    code, _, err = call("--out", "third", "--spend", "1e9FLOPs")
    assert code == 2 and "is too little for one arm and its confirmation; about" in err and "would do" in err


class Bought:
    """Results made by hand: what an arm scores is known, and what it takes moves the clock."""

    def __init__(self, monkeypatch, effects, *, predicted=10.0, takes=10.0, noise=0.05, fails=()):
        self.effects, self.takes, self.noise, self.fails, self.now, self.arms = effects, takes, noise, fails, 0.0, []
        rates = lambda methods: Rates(  # noqa: E731
            Cost(predicted, 1e6),
            Cost(),
            Cost(0.0, 1e3),
            Cost(0.0, 1e3),
            dict.fromkeys(methods, (Cost(), Cost())),
            (Cost(), Cost()),
        )
        monkeypatch.setattr(search, "measured", lambda setup, confirming, methods, seed: rates([m.name for m in methods]))
        monkeypatch.setattr(Bench, "run", lambda bench, arm: self.result(bench, arm))

    def __call__(self):
        return self.now

    def result(self, bench, arm):
        if arm.method in self.fails:
            raise CurateError("its training diverged")
        self.now += self.takes
        self.arms.append(arm)
        [(task, _)] = bench.tasks
        ids = task.pool.row_ids
        draw = np.random.default_rng([arm.seed, int(ids[0][:8], 16), sum(map(ord, arm.method + arm.budget))])
        shared = np.array([int(row_id[:4], 16) / 65536 for row_id in ids])  # of the item, the same for all arms
        values = 3 + shared + self.effects.get(arm.method, 0.0) + self.noise * draw.standard_normal(len(ids))
        columns = {
            "task": task.name,
            "row_id": ids,
            "source": task.pool.sources,
            "value": values,
            "weight": 1.0,
            "prediction": None,
        }
        account = {**ACCOUNT, "seconds": self.takes, "evaluate_seconds": 0.0}
        return ArmResult(account, pl.DataFrame(columns, schema_overrides={"source": pl.String, "prediction": pl.String}))


METHODS = ("longest", "balanced")


@pytest.fixture
def bought(monkeypatch, tmp_path, make_pool, tiny):
    """A search whose arms are made by hand: gives the outcome, and what was bought."""
    pool, dev = make_pool(range(60)), make_pool(range(100, 160), name="dev.jsonl")

    def call(effects, spend="20min", methods=METHODS, budgets=("10%", "20%"), store="store", **more):
        clock = Bought(monkeypatch, effects, **more)
        engine = curate.Engine(store=curate.Store(tmp_path / store))
        recipe = TrainConfig(batch_tokens=100)
        asked = {"evals": dev, "tokens": 400, "model": tiny, "engine": engine, "recipe": recipe, "clock": clock}
        return curate.auto(pool, methods, spend=spend, budgets=budgets, **asked), clock

    return call


def test_what_is_planted_wins_and_is_to_be_trained_on(bought, tmp_path):
    outcome, _ = bought({"longest": -0.5, "balanced": 0.3})
    assert outcome.answer == "method" and outcome.winner["method"] == "longest" and outcome.use == outcome.winner
    assert outcome.sentence.startswith("Use longest at ") and "took no part in the search" in outcome.sentence
    assert outcome.tested["diff"] == pytest.approx(-0.5, abs=0.05) and outcome.tested["answer"] == "better"
    assert (
        outcome.tested["vs_matched_answer"] == "better" and "It also beats random rows with replies as long" in outcome.sentence
    )
    assert {(line["method"], line["budget"]) for line in outcome.discarded} == {
        ("balanced", "10%"), ("balanced", "20%"), ("longest", {"10%": "20%", "20%": "10%"}[outcome.winner["budget"]]),
    }  # fmt: skip
    outcome.save(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "picked" / "manifest.json").read_text())["method"]["name"] == "longest"
    confirmed = {arm.seed for arm in outcome.confirmation.evidence.results if arm.kind != "untrained"}
    assert confirmed and not confirmed & {seed for rung in outcome.rungs for seed in rung["seeds"]}


def test_where_nothing_differs_it_says_use_random(bought, tmp_path):
    outcome, _ = bought({}, noise=1e-4)
    assert outcome.answer == "random" and outcome.sentence.startswith("Use random: the best of what was tried")
    assert outcome.use["method"] == "random" and outcome.tested["answer"] == "equivalent"
    outcome.save(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "picked" / "manifest.json").read_text())["method"]["name"] == "random"


def test_what_is_worse_is_not_used(bought):
    outcome, _ = bought({"longest": 0.4, "balanced": 0.5})
    assert outcome.answer == "random" and "is worse than random" in outcome.sentence


def test_what_cannot_be_told_is_undecided_and_it_says_what_it_would_take(bought, tmp_path):
    outcome, _ = bought({"longest": -0.1}, noise=2.0, spend="10min")
    assert outcome.answer == "undecided" and outcome.use is None and outcome.picked is None
    assert "it takes about" in outcome.remarks[-1] or "No realistic number" in outcome.remarks[-1]
    outcome.save(tmp_path / "out")
    assert not (tmp_path / "out" / "picked").exists()


@pytest.mark.parametrize("takes", [2.0, 10.0, 13.0, 25.0, 70.0])
def test_it_ends_within_its_spend_however_slow_the_machine_is(bought, takes):
    """Arms are thought to take 10 s."""
    outcome, clock = bought({"longest": -0.5}, spend="10min", takes=takes)
    assert clock.now <= 600 and outcome.spend["spent"] <= 600
    assert outcome.spend["spent"] == pytest.approx(sum(part["seconds"] for part in outcome.spend["parts"]))
    if takes <= 13:
        assert outcome.answer == "method" and len(outcome.confirmation.config["seeds"]) >= 3
    if takes == 70:
        assert outcome.answer == "undecided" and outcome.confirmation is None
        assert "the spend ended before any arm could be held against random" in outcome.sentence
        assert "At the speed seen here a spend of about" in outcome.remarks[-1]


def test_the_same_search_goes_on_with_the_same_schedule(bought, monkeypatch):
    one, first = bought({"longest": -0.5})
    again, second = bought({"longest": -0.5}, predicted=500.0)  # measured anew it would not even fit
    assert again.plan == one.plan and again.rungs == one.rungs and len(first.arms) == len(second.arms)


def test_an_arm_that_fails_is_left_out_with_its_reason(bought):
    outcome, _ = bought({"balanced": -0.5}, fails=("longest",))
    assert outcome.winner["method"] == "balanced" and outcome.answer == "method"
    assert {line["reason"] for line in outcome.discarded if line["method"] == "longest"} == {"rung 1: its training diverged"}


def test_one_arm_goes_straight_to_its_confirmation(bought):
    outcome, clock = bought({"longest": -0.5}, methods=["longest"], budgets=["10%"], spend="10min")
    assert outcome.rungs == [] and outcome.discarded == [] and outcome.answer == "method"
    assert {arm.method for arm in clock.arms} == {"longest", "random", "as long as longest", "untrained"}


def test_more_arms_take_more_rungs_and_each_has_more_seeds(bought):
    outcome, _ = bought({"longest": -0.5}, budgets=["5%", "10%", "20%", "30%"], spend="1h")
    assert [len(rung["standings"]) - len({s["budget"] for s in rung["standings"]}) for rung in outcome.rungs] == [8, 4, 2]
    assert all(a["seeds"] == b["seeds"][: len(a["seeds"])] for a, b in zip(outcome.rungs, outcome.rungs[1:]))
    assert len(outcome.discarded) == 7 and [line["rung"] for line in outcome.discarded] == [1] * 4 + [2] * 2 + [3]
    assert {line["method"] for line in outcome.rungs[-1]["standings"]} == {"longest", "random"}


def test_without_an_evaluation_set_some_of_the_pool_is_held_out(monkeypatch, tmp_path, make_pool, tiny):
    clock = Bought(monkeypatch, {"longest": -0.5})
    engine = curate.Engine(store=curate.Store(tmp_path / "store"))
    outcome = curate.auto(make_pool(range(200)), ["longest"], spend="20min", tokens=400, model=tiny, engine=engine, clock=clock)
    assert "40 rows were held out of the pool, 20 to search by and 20 to confirm on" in outcome.remarks[0]
    assert outcome.config["pool_rows"] == 160 and outcome.answer == "method"
    held = set(outcome.confirmation.evidence.items()["row_id"])
    assert not held & set(outcome.confirmation.selections["row_id"]) and len(held) == 20


def test_faults_are_said_before_anything_runs(make_pool, tiny):
    pool, dev = make_pool(range(60)), make_pool(range(100, 160), name="dev.jsonl")
    with pytest.raises(InputError, match="name at least one method beside random"):
        curate.auto(pool, ["random"], evals=dev, spend="1min", model=tiny)
    with pytest.raises(InputError, match="decides by one evaluation set, not by 2"):
        curate.auto(pool, evals={"a": dev, "b": dev}, spend="1min", model=tiny)
    with pytest.raises(InputError, match="a confirmation set needs an evaluation set"):
        curate.auto(pool, confirm=dev, spend="1min", model=tiny)
    with pytest.raises(InputError, match="60 prompts of the confirmation set"):
        curate.auto(pool, evals=dev, confirm=dev, spend="1min", model=tiny)
    with pytest.raises(InputError, match="cannot be read"):
        curate.auto(pool, evals=dev, spend="soon", model=tiny)
