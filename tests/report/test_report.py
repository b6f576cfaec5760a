"""What people read on a terminal."""

import io
import json

import polars as pl
import pytest
from rich.console import Console
from rich.text import Text

import curate
from curate.budget import Budget
from curate.comparison.verdict import SCHEMA, Verdict
from curate.errors import InputError
from curate.preparation import as_pool
from curate.report.inspected import show_inspection
from curate.report.inspection import inspect_pool
from curate.report.plans import plan_scores, show_plan
from curate.report.scores import show_scores
from curate.report.table import show_table
from curate.report.terminal import show_frame, show_selection, show_verdict
from curate.report.truth import show_auroc, show_picks_truth
from curate.truth import judge, judge_picks


@pytest.fixture
def show():
    """The lines in which something appears on a terminal of a given width."""

    def render(thing, width=80):
        console = Console(width=width, file=io.StringIO())
        thing(console) if callable(thing) else console.print(thing)
        return [line.rstrip() for line in console.file.getvalue().splitlines()]

    return render


@pytest.fixture
def engine(tmp_path):
    return curate.Engine(store=curate.Store(tmp_path / "store"), device="cpu")


# Tables


def test_cells_are_text(show):
    table = show_table("", ["[red]a[/]", "n"], [["[bold]x[/bold]", 1], [Text("y", style="red"), None]], right=["n"])
    lines = show(table)
    assert lines[0].split() == ["[red]a[/]", "n"]
    assert [line.split() for line in lines[1:3]] == [["[bold]x[/bold]", "1"], ["y", "None"]]


def test_no_cell_drives_the_terminal(show):
    text = "\n".join(show(show_table("", ["a\x1b[31m"], [["b\x1b]0;title\x07"], ["c\rd"]])))
    assert "\x1b" not in text and "\x07" not in text and "\r" not in text and "title" in text


def test_a_frame(show):
    frame = pl.DataFrame({"source": ["a", None], "value": [0.123456, 2.0], "n": [1, 20]})
    lines = show(lambda console: show_frame(console, frame, ""))
    assert [line.split() for line in lines if line] == [["source", "value", "n"], ["a", "0.1235", "1"], ["2", "20"]]


# select


SUMMARY = {
    "rows_in": 1060, "rows_pool": 1058, "rows_rejected": 1, "rows_duplicate": 1, "rows_near_duplicate": 0,
    "rows_contaminated": 0, "rows_over_cap": 0, "selected": 106, "written": 106, "selected_tokens": 5000,
    "pool_tokens": 100000, "method": "lobass", "scorer_model": "base-4m", "computed_rows": 8, "reused_rows": 1050,
    "seconds": 12.34, "rows_null": 0, "shortfall": None,
}  # fmt: skip


def test_a_selection(show):
    text = "\n".join(show(show_selection(SUMMARY, "out/[x]"), 200))
    assert "1,060 rows in = 1,058 in the pool + 1 rejected + 1 duplicate\n" in text
    assert "106 rows (10.0%), 5,000 of 100,000 tokens, by lobass with base-4m" in text
    assert "8 rows; 1,050 reused from the store; 12.3 s" in text and "out/[x]" in text
    assert "left out" not in text and "short" not in text and "reply tokens" not in text
    chosen = {**SUMMARY, "kept_reply_tokens": 1200, "reply_tokens": 2000}
    assert "tokens    1,200 of 2,000 reply tokens are kept\n" in "\n".join(show(show_selection(chosen, "out"), 200))


def test_what_is_missing_is_said(show):
    assert "note      A fit of old." in "\n".join(show(show_selection(SUMMARY, None, ["A fit of old."]), 200))
    text = "\n".join(show(show_selection({**SUMMARY, "rows_null": 3, "shortfall": "Only 5 of 8."}, None), 200))
    assert "3 rows without a score" in text and "Only 5 of 8." in text and "written" not in text


# compare


def verdict():
    arms = [
        {
            **dict.fromkeys(SCHEMA), "method": method, "budget": "10%", "kind": kind, "steps": 3.0, "task": "eval", "metric": "response_loss", "rows": 600, "mean": mean,
            "diff_from_random": difference, "ci_low": difference and difference - 0.02, "ci_high": difference and difference + 0.02,
            "p_value": difference and 0.01, "p_holm": difference and 0.02, "answer": answer, "seeds": 5, "train_tokens": 1000,
            "loss_tokens": 400, "epochs": 2.5, "select_seconds": 340.0, "train_seconds": 12000.0, "in_family": answer is not None,
            "selections": 5, "note": None,
        }
        for method, kind, mean, difference, answer in (
            ("random", "random", 2.0, None, None),
            ("perplexity:window=low", "method", 1.7, -0.3, "better"),
            ("full, 1 epoch", "ceiling", 1.5, None, None),
        )
    ]  # fmt: skip
    return Verdict(arms, "x beats random: [bold]see[/bold].", ["A remark in [brackets]."], {}, pl.DataFrame())


@pytest.mark.parametrize("width", [80, 100, 200])
def test_a_verdict_fits(show, width):
    lines = show(show_verdict(verdict()), width)
    text = "\n".join(lines)
    assert all(len(line) <= width for line in lines) and "…" not in text
    came, took = [line for line in lines if line.startswith("perplexity:window=low")]
    assert all(part in came for part in ("10%", "1.700", "-0.300", "better"))
    assert all(part in took for part in ("10%", "600", "2.5", "400", "6 min", "3.3 h"))
    assert "x beats random: [bold]see[/bold]." in text and "A remark in [brackets]." in text


# score


def test_scores(show, engine, small_pool, tiny):
    scores = curate.score(small_pool, ["random", "longest"], model=tiny, engine=engine)
    lines = show(lambda console: show_scores(console, scores, judge(scores, "planted"), "out"), 120)
    [random, longest] = [line.split() for line in lines if line.startswith(("random", "longest"))][:2]
    assert random[:3] == ["random", "24", "0"] and longest[-1] == "+1.00"
    assert any("AUROC" in line for line in lines) and "written out" in lines
    assert "with length: rank correlation (Spearman) of a score with the reply's tokens, from -1 to +1" in lines


def test_what_chance_may_have_done_is_marked(show, engine, make_pool, tiny):
    """One short row of 24 is below every other: 1.00, and nothing to go by. Six are."""
    pool = make_pool(range(24), planted=lambda i: {0: "one"}.get(i, "short" if i % 4 == 0 else None))
    scores = curate.score(pool, ["longest"], model=tiny, engine=engine, budget=6)
    judged = judge(scores, "planted")
    auroc, picks = (
        "\n".join(show(table, 120)) for table in (show_auroc(judged.scores), show_picks_truth(judged.picks, "source"))
    )
    for text, value in ((auroc, "1.00"), (picks, "0.00")):
        assert "(1)" in text and "(5)" in text and "Behind a defect the rows that have it; ~: the 95% interval covers" in text
        line = next(line for line in text.splitlines() if line.startswith("longest"))
        assert f"~{value}" in line
    assert judged.scores.sort("defect").select("rows").to_series().to_list() == [1, 5]
    assert judged.picks.sort("defect")["defect_rows"].to_list() == [1, 5]
    assert [line.split()[1:] for line in auroc.splitlines() if line.startswith("longest")] == [["~1.00", "1.00"]]


def test_whose_score_it_is_where_it_is_a_quality(engine, small_pool, tiny):
    scores = curate.score(small_pool, ["longest", "kmq:clusters=2", "kmq:clusters=2:quality=random"], model=tiny, engine=engine)
    said = "its quality of a row; what it picks depends on other rows too"
    about = [remark for remark in scores.manifest["remarks"] if "its score is" in remark]
    assert about == [
        f"kmq:clusters=2: its score is the reply's number of tokens, {said}",
        f"kmq:clusters=2:quality=random: its score is what random prefers, {said}",
    ]
    assert scores.frame["kmq:clusters=2"].to_list() == scores.frame["longest"].to_list()


def test_auroc_says_how_well_a_score_finds_defects(engine, make_pool, tiny):
    """Spoiled rows have the shortest replies here: keeping the longest outranks every one of them."""
    pool = make_pool(range(24), planted=lambda i: "short" if i % 4 == 0 else None)
    scores = curate.score(pool, ["longest"], model=tiny, engine=engine)
    [line] = judge(scores, "planted").scores.to_dicts()
    assert (line["method"], line["defect"], line["rows"]) == ("longest", "short", 6)
    assert line["auroc"] == 1.0 and show_auroc(judge(scores, "planted").scores).renderables[1].row_count == 1


@pytest.mark.parametrize("column, words", [("nothing", "no column nothing"), ("messages", "does not name defects")])
def test_truth_must_be_a_column_of_names(engine, small_pool, tiny, column, words):
    scores = curate.score(small_pool, ["longest"], model=tiny, engine=engine)
    with pytest.raises(InputError, match=words):
        judge(scores, column)


def test_enrichment_of_defects_among_picks(make_pool):
    pool = as_pool(make_pool(range(20), planted=lambda i: "wrong" if i % 2 else None))
    planted = pool.column("planted").to_pylist()
    wrong = [row_id for row_id, defect in zip(pool.row_ids, planted, strict=True) if defect]
    clean = [row_id for row_id, defect in zip(pool.row_ids, planted, strict=True) if not defect]
    columns = {"method": ["a"] * 4 + ["b"] * 4, "kind": "method", "budget": "20%", "seed": 0}
    picks = pl.DataFrame({**columns, "row_id": [*wrong[:3], clean[0], *clean[1:5]]})
    judged = judge_picks(picks, pool, "planted")
    table = {line["method"]: line["enrichment"] for line in judged.to_dicts()}
    assert table == {"a": pytest.approx(1.5), "b": pytest.approx(0.0)}
    defects, rows = show_picks_truth(judged, "source").renderables
    assert defects.renderables[1].row_count == rows.row_count == 2


# inspect


def test_an_inspection(show, make_pool, tiny, tmp_path):
    path = make_pool(range(12))
    path.write_text(path.read_text() + "{bad\n")
    found = inspect_pool(as_pool(path), str(tiny), {"device": "cpu"}, tmp_path / "store", 2)
    s = found.summary
    assert (s["rows_in"], s["rows_pool"], s["rows_rejected"], s["problems"]) == (13, 12, 1, {"not JSON": 1})
    assert s["tokens"]["total"] > s["response_tokens"]["total"] > 0 and s["max_length"] == 256
    assert {name: source["rows"] for name, source in s["sources"].items()} == {"s0": 4, "s1": 4, "s2": 4}
    assert sum(source["tokens"] for source in s["sources"].values()) == s["tokens"]["total"]
    json.dumps(s)

    # What is learned from is the reply and nothing else.
    assert [example.source for example in found.examples] == ["s0", "s1"]
    for example in found.examples:
        learned = "".join(text for text, yes in example.pieces if yes)
        rest = "".join(text for text, yes in example.pieces if not yes)
        assert learned.startswith("It is ") and "What is" not in learned and "What is" in rest and "It is" not in rest
    text = "\n".join(show(lambda console: show_inspection(console, found)))
    assert "13 rows in = 12 in the pool + 1 rejected + 0 duplicate" in text and "not JSON" in text and "example 2" in text

    many = inspect_pool(as_pool(path), str(tiny), {"device": "cpu"}, tmp_path / "store", 100).examples
    assert len({example.row_id for example in many}) == len(many) == 12


def test_an_inspection_counts_near_duplicates_and_overlaps(show, make_pool, tiny, tmp_path, monkeypatch):
    def said(i):  # every third row is near to the one before
        words = " ".join(f"w{i - (i % 3 == 2)}x{k}" for k in range(20))
        return [
            {"role": "user", "content": f"{words}{' please' * (i % 3 == 2)}"},
            {"role": "assistant", "content": f"Number {i // 3}."},
        ]

    pool = curate.read_pool(make_pool(range(9), messages=said))
    evaluation = curate.read_pool(make_pool([1, 40], "eval.jsonl", messages=said))

    def inspected(pool):
        found = inspect_pool(pool, str(tiny), {"device": "cpu"}, tmp_path / "store", 0)
        return found.summary, " ".join(" ".join(show(lambda console: show_inspection(console, found))).split())

    summary, text = inspected(pool)
    assert summary["near_duplicates"] == {"similarity": 0.8, "rows": 3} and "near-duplicates: 3 (33.3%)" in text
    assert sum(source["near_duplicates"] for source in summary["sources"].values()) == 3

    summary, text = inspected(curate.refine(pool, near_duplicates=0.8, decontaminate={"held out": evaluation}))
    assert summary["near_duplicates"] is None and summary["rows_near_duplicate"] == 3 and summary["rows_contaminated"] == 1
    assert "9 rows in = 5 in the pool + 0 rejected + 0 duplicate + 3 near-duplicate + 1 contaminated" in text
    assert "held out 2 1 (50.0%) 1 (50.0%) 1" in text

    for module in ("inspection", "inspected"):
        monkeypatch.setattr(f"curate.report.{module}.NEAR_ROWS", 5)
    summary, text = inspected(pool)
    assert summary["near_duplicates"] is None and "near-duplicates are not counted above 5 rows" in text


# --plan


@pytest.fixture
def plan(small_pool, tiny, tmp_path):
    def make(method, **asked):
        engine = curate.Engine(store=curate.Store(tmp_path / "store"), device="cpu")
        return plan_scores(as_pool(small_pool), [method], engine=engine, model=str(tiny), **asked)

    return make


def test_a_plan_counts_what_is_missing(show, plan, small_pool, tiny, tmp_path):
    before = plan("lobass")
    assert [line["rows"] for line in before["plan"]] == [24, 24, 24] and json.dumps(before)
    text = "\n".join(show(lambda console: show_plan(console, before)))
    assert "fit tiny on 24 rows of pool" in text and "GB" in text and "in all" in text

    curate.score(small_pool, "lobass", model=tiny, engine=curate.Engine(store=curate.Store(tmp_path / "store")))
    after = plan("lobass")
    assert [(line["rows"], line["tokens"], line["seconds"]) for line in after["plan"]] == [(0, 0, 0.0)] * 3
    assert "\n".join(show(lambda console: show_plan(console, after))).count("in the store") == 3


def test_a_plan_names_the_rows_that_are_missing_and_a_fit_of_other_rows(show, make_pool, tiny, tmp_path):
    def engine():
        return curate.Engine(store=curate.Store(tmp_path / "store"), device="cpu")

    curate.score(make_pool(range(48), "some.jsonl"), "lobass", model=tiny, engine=engine())
    more = as_pool(make_pool(range(50)))
    planned = plan_scores(more, ["lobass"], engine=engine(), model=str(tiny))
    assert [(line["name"].split(" by ")[0], line["rows"]) for line in planned["plan"][1:]] == [
        ("mean_loss of 2 of the 50 rows of pool", 2)
    ] * 2
    [note] = planned["notes"]
    assert "was kept although 4.0% of the rows have changed" in note
    assert note in " ".join("\n".join(show(lambda console: show_plan(console, planned), 200)).split())
    scored = curate.score(more, "lobass", model=tiny, engine=engine())
    assert note in "\n".join(show(lambda console: show_scores(console, scores=scored, judged=None, out="out"), 200))
    assert {stage.name.split(" by ")[0] for stage in scored.stages if stage.kind == "pass"} == {"mean_loss of 50 rows of pool"}


@pytest.mark.parametrize(
    ("method", "budget", "says"),
    [
        ("lobass", "10%", "training on everything is cheaper, unless the selection serves 3 trainings"),
        ("perplexity", "10%", "the selection pays with its first training"),
        ("perplexity", "100%", "training on everything is as cheap"),
    ],
)
def test_a_plan_says_when_training_on_everything_is_cheaper(show, plan, method, budget, says):
    """A forward pass is 2 FLOPs a parameter and token, LoRA 4: lobass takes 4 + 2 + 2 to save 0.9 x 4, perplexity 2."""
    planned = plan(method, budget=Budget.parse(budget))
    work = {"lobass": 8, "perplexity": 2}[method]
    assert planned["worth"]["select"] == pytest.approx(work / 4 * planned["worth"]["everything"])
    assert says in " ".join("\n".join(show(lambda console: show_plan(console, planned))).split())


def test_nothing_runs(show, plan):
    nothing = plan("longest")
    assert nothing == {"plan": [], "notes": []}
    assert "nothing runs" in "\n".join(show(lambda console: show_plan(console, nothing)))
