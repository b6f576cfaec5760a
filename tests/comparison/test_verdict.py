"""What a verdict says, on arms made by hand."""

import json

import polars as pl
import pytest

from curate.comparison.remarks import headline
from curate.comparison.tables import COLUMNS, COSTS, cost_row, duration, lower_is_better, markdown_table, table_row
from curate.comparison.verdict import SCHEMA, Verdict

KINDS = {"random": "random", "full": "full", "full, 1 epoch": "ceiling", "untrained": "untrained"}


def arm(method="m", answer=None, difference=None, **more):
    """One arm; `answer` puts it into the family."""
    return {
        "method": method, "budget": "10%", "kind": KINDS.get(method, "method"), "of": None, "task": "eval", "metric": "response_loss", "rows": 100, "mean": 2.0,
        "diff_from_random": difference, "ci_low": None if difference is None else difference - 0.02,
        "ci_high": None if difference is None else difference + 0.02, "p_value": None if difference is None else 0.01,
        "p_holm": None if difference is None else 0.03, "answer": answer, "seeds": 5, "train_tokens": 1000, "loss_tokens": 400,
        "epochs": 2.5, "steps": 12.0, "learning_rate": 2e-3, "select_seconds": 3.0, "select_flops": 2e12, "train_seconds": 200.0, "train_flops": 4e12,
        "evaluate_seconds": 5.0, "evaluate_flops": 1e11, "pays_after": None, "sdf": 0.1, "pir": 0.9, "efficiency": None,
        "vs_matched": None, "vs_matched_low": None,
        "vs_matched_high": None, "vs_matched_answer": None, "in_family": answer is not None, "selections": 5, "agree": None, "agree_random": None,
        "note": None, **more,
    }  # fmt: skip


CONTROL, CEILING = arm("random"), arm("full, 1 epoch", mean=1.0)


# headline


def test_better():
    text = headline([CONTROL, arm("lobass", "better", -0.3, mean=1.7), arm("longest", "worse", 0.1)], 5)
    assert text.startswith("lobass at 10% beats random: held-out loss 1.700, 0.300 lower than random at equal training tokens")
    assert "95% interval -0.320 to -0.280" in text and "longest" not in text


def test_the_best_of_several():
    arms = [CONTROL, arm("a", "better", -0.1), arm("b", "better", -0.4, budget="5%"), arm("c", "better", -0.2)]
    text = headline(arms, 5)
    assert text.startswith("b at 5% beats random") and "so do 2 other arms" in text


def test_more_is_better_for_exact_match():
    good = arm("a", "better", 0.2, metric="exact_match", mean=0.6)
    best = arm("b", "better", 0.3, metric="exact_match", mean=0.7)
    text = headline([CONTROL, good, best], 5)
    assert text.startswith("b at 10% beats random: exact match 0.700, 0.300 higher than random")


def test_all_worse():
    text = headline([CONTROL, arm("a", "worse", 0.1), arm("b", "worse", 0.2)], 5)
    assert text.startswith("Use random") and "worse" in text and "5 seeds" in text
    assert "a at 10%" in text and "b at 10%" in text and "undecided" not in text


def test_none_better():
    text = headline([CONTROL, arm("a", "worse", 0.1), arm("b", "equivalent", 0.0)], 5)
    assert text.startswith("Use random") and "undecided" not in text


@pytest.mark.parametrize("other", ["worse", "equivalent", "undecided"])
def test_undecided(other):
    text = headline([CONTROL, arm("a", "undecided", -0.5), arm("b", other, 0.2)], 3)
    assert "Use random" not in text and "beats random:" not in text and "3 seeds" in text
    assert text.startswith("No selection is shown to beat random")


def test_neither_the_ceiling_nor_training_on_everything_is_a_selection():
    full = arm("full", "better", -0.5)
    for arms in ([CONTROL, full], [CONTROL, full, CEILING, arm("a", "undecided", -0.1)]):
        assert "full" not in headline(arms, 3) and "beats random:" not in headline(arms, 3)


def test_arms_of_other_tasks_have_no_say():
    other = arm("a", None, -0.9, task="other")
    assert "beats random:" not in headline([CONTROL, arm("a", "undecided", -0.1), other], 3)


def test_one_seed_is_one():
    assert "1 seeds" not in headline([CONTROL, arm("a", "undecided", 0.1)], 1)


# Tables


def test_a_row_for_people():
    row = table_row(arm("a", "worse", 0.1234, mean=1.23456, rows=12345, p_holm=0.00001))
    assert tuple(row) == COLUMNS
    assert row == {
        "method": "a", "budget": "10%", "rows": "12,345", "mean": "1.235", "vs random": "+0.123",
        "interval": "+0.103 to +0.143", "p (Holm)": "<0.001", "answer": "worse", "vs as long": "", "epochs": "2.5",
        "steps": "12", "loss tokens": "400", "seeds agree": "",
    }  # fmt: skip
    assert table_row(arm("a", agree=0.415, agree_random=0.0526))["seeds agree"] == "0.41 (0.05)"
    assert table_row(arm("a", vs_matched=-0.05, vs_matched_answer="better"))["vs as long"] == "-0.050 better"


def test_what_an_arm_took():
    row = cost_row(arm("a", pays_after=1234))
    assert tuple(row) == COSTS
    assert row == {
        "method": "a", "budget": "10%", "select": "3.0 s", "train": "3 min", "evaluate": "5.0 s", "select FLOPs": "2.0e+12",
        "train FLOPs": "4.0e+12", "evaluate FLOPs": "1.0e+11", "pays after": "1,234",
        "SDF": "0.100", "PIR": "0.900",
    }  # fmt: skip
    unknown = cost_row(arm("a", evaluate_seconds=None, evaluate_flops=None))
    assert unknown["evaluate"] == unknown["evaluate FLOPs"] == unknown["pays after"] == ""


def test_a_control_has_no_difference():
    row = table_row(CONTROL)
    assert [row[name] for name in ("vs random", "interval", "p (Holm)", "answer")] == [""] * 4


def test_one_seed_has_a_difference_but_no_interval():
    row = table_row(arm("a", "undecided", -0.1, ci_low=None, ci_high=None, p_holm=None))
    assert row["vs random"] == "-0.100" and row["interval"] == "" == row["p (Holm)"]


def cells(line):
    assert line.startswith("| ") and line.endswith(" |")
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_markdown_has_a_table_per_task():
    arms = [
        CEILING,
        arm("worst", "worse", 0.4, mean=2.4),
        CONTROL,
        arm("best", "better", -0.3, mean=1.7),
        arm("small", "undecided", 0.0, rows=50, budget="5%"),
        arm("best", None, 0.1, task="sums", metric="exact_match", mean=0.4),
        arm("random", None, None, task="sums", metric="exact_match", mean=0.3),
    ]
    text = "\n".join(markdown_table(arms))
    first, second = (part for part in text.split("\n\n") if part.startswith("|"))
    for table, names in ((first, ["small", "best", "random", "worst", "full, 1 epoch"]), (second, ["best", "random"])):
        header, rule, *rows = (cells(line) for line in table.splitlines())
        assert tuple(header) == COLUMNS and all(set(cell) <= set("-:") for cell in rule)
        assert all(len(row) == len(COLUMNS) for row in [rule, *rows])
        assert [row[0] for row in rows] == names  # by budget, then best first, the ceiling last
    assert "lower is better" in text and "higher is better" in text


def test_durations():
    seconds = [0, 0.44, 9.94, 12.3, 99, 150, 5999, 7560]
    assert [duration(s) for s in seconds] == ["0.0 s", "0.4 s", "9.9 s", "12 s", "99 s", "2 min", "100 min", "2.1 h"]


def test_directions():
    assert lower_is_better("response_loss") and not lower_is_better("exact_match")


# On disk


def test_what_is_written_is_the_verdict(tmp_path):
    arms = [CONTROL, arm("a", "worse", 0.1), arm("b", "undecided", -0.1, ci_low=None, ci_high=None, p_holm=None)]
    picks = pl.DataFrame({"method": ["a"], "budget": ["10%"], "seed": [0], "row_id": ["0" * 32]})
    verdict = Verdict(arms, "A headline.", ["A remark."], {"seeds": [0]}, picks)
    verdict.write(tmp_path / "out")
    kept = json.loads((tmp_path / "out" / "verdict.json").read_text())
    assert (
        kept == verdict.to_json() == {"headline": "A headline.", "remarks": ["A remark."], "arms": arms, "config": {"seeds": [0]}}
    )
    frame = pl.read_parquet(tmp_path / "out" / "verdict.parquet")
    assert frame.equals(verdict.frame) and dict(frame.schema) == SCHEMA and frame.to_dicts() == arms
    assert pl.read_parquet(tmp_path / "out" / "selections.parquet").equals(picks)
    page = (tmp_path / "out" / "verdict.md").read_text()
    assert page.startswith("**A headline.**\n") and "\n- A remark.\n" in page and "| a " in page


def test_a_verdict_prints_short_and_a_notebook_shows_the_page():
    verdict = Verdict([CONTROL], "A headline.", [], {"seeds": [0]}, pl.DataFrame(), manifest={"stages": ["x"] * 1000})
    assert repr(verdict).startswith("Verdict('A headline.', 1 arms") and len(repr(verdict)) < 100
    assert "<strong>A headline.</strong>" in verdict._repr_html_() and "<table>" in verdict._repr_html_()
