"""Results as a terminal shows them."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from curate.comparison.tables import NUMBERS, cost_row, table_row, tables
from curate.comparison.verdict import Verdict
from curate.evaluation.metrics import find_metric
from curate.measurement import Evaluation
from curate.report.table import printable, show_table
from curate.wording import account_of, counted, rows_called

VERDICT_COLUMNS = ("method", "budget", "mean", "vs random", "answer", "vs as long")
COST_COLUMNS = ("method", "budget", "rows", "epochs", "steps", "loss tokens", "select", "train", "pays after")
ANSWER_STYLE = {"better": "bold green", "worse": "red", "equivalent": "cyan", "undecided": "yellow"}


def show_verdict(verdict: Verdict) -> RenderableType:
    """The headline, a table of arms per task that fits 80 columns, and what the answers rest on."""
    found: list[RenderableType] = [
        Panel(Text(verdict.headline, style="bold"), border_style="green" if " beats random:" in verdict.headline else "yellow")
    ]
    for title, arms in tables(verdict.arms):
        rows = []
        for arm in arms:
            row: dict[str, Any] = dict(table_row(arm))
            if arm["ci_low"] is not None:
                row["vs random"] += f" ±{(arm['ci_high'] - arm['ci_low']) / 2:.3f}"
            row["answer"] = Text(row["answer"], style=ANSWER_STYLE.get(row["answer"], ""))
            rows.append([row[name] for name in VERDICT_COLUMNS])
        found.append(show_table(title, VERDICT_COLUMNS, rows, right=NUMBERS))
    _, arms = tables(verdict.arms)[0]
    took = [{**table_row(arm), **cost_row(arm)} for arm in arms]
    title = "\nWhat it took, per seed"
    columns = [name for name in COST_COLUMNS if name != "pays after" or any(row[name] for row in took)]
    headers = [name.replace(" ", "\n") for name in columns]
    cells = [[row[name] for name in columns] for row in took]
    found.append(show_table(title, headers, cells, right=headers[2:]))
    return Group(*found, Text(""), *(Text(f"· {remark}", style="dim") for remark in verdict.remarks))


def show_evaluation(found: Evaluation) -> RenderableType:
    """A table for each task, the mean over sources first, and what was left out."""
    shown: list[RenderableType] = []
    for [task], lines in found.frame.group_by("task", maintain_order=True):
        one = lines.height == 2  # a source that is all there is
        rows = [_evaluated(line, "all rows" if one else "mean over sources") for line in lines.iter_rows(named=True)]
        title = f"{find_metric(lines['metric'][0]).title} on {task} ({lines['unit'][0]})"
        shown.append(Text(printable(title), style="bold"))  # a table would break its title at its own width
        columns = ["source", "value", "95% interval", "items"]
        shown.append(show_table("", columns, rows[:1] if one else rows, right=["value", "items"]))
    for task, left_out in found.unusable.items():
        if left_out:
            first = left_out[0]
            said = f"{counted(len(left_out))} of {task} left out; {first.file} line {first.line}: {first.reason}"
            shown.append(Text(printable(f"· {said}"), style="dim"))
    shown += [Text(printable(f"· {note}"), style="dim") for note in found.manifest.get("notes", ())]
    return Group(*shown)


def _evaluated(line: Mapping[str, Any], whole: str) -> list[str]:
    source = whole if line["source"] is None else line["source"] or "(no source)"
    between = "" if line["ci_low"] is None else f"{line['ci_low']:.3f} to {line['ci_high']:.3f}"
    return [source, f"{line['value']:.3f}", between, f"{line['items']:,}"]


def show_selection(summary: Mapping[str, Any], out: str | None, notes: Sequence[str] = ()) -> RenderableType:
    """What was read, what was picked, what it cost. notes: such as that a fit serves which was made on other rows."""
    share = summary["selected"] / max(1, summary["rows_pool"])
    lines = [
        f"read      {account_of(summary)}",
        f"picked    {counted(summary['selected'])} ({share:.1%}), {summary['selected_tokens']:,} of {summary['pool_tokens']:,} "
        f"tokens, by {summary['method']} with {summary['scorer_model']}",
        f"computed  {counted(summary['computed_rows'])}; {summary['reused_rows']:,} reused from the store{_beside(summary)}; "
        f"{summary['seconds']:.1f} s",
    ]
    if "kept_reply_tokens" in summary:
        lines.append(f"tokens    {summary['kept_reply_tokens']:,} of {summary['reply_tokens']:,} reply tokens are kept")
    if "rewritten" in summary:
        each = ", ".join(f"{rows:,} {change}" for change, rows in summary["rewritten"].items())
        lines.append(f"rewritten {each or 'no row'}; columns parent and changed say of each row what it was")
        if alike := summary["rewritten_alike"]:
            lines.append(f"          {counted(alike)} became the same as another, and {'is' if alike == 1 else 'are'} left out")
    lines += [f"note      {note}" for note in (*summary.get("remarks", ()), *notes)]
    if summary["rows_null"]:
        lines.append(f"left out  {counted(summary['rows_null'])} without a score (see null_reason in scores.parquet)")
    if summary["shortfall"]:
        lines.append(f"short     {summary['shortfall']}")
    if summary["written"] > summary["selected"]:
        lines.append(f"repeated  {summary['written']:,} rows are written, those of repeated sources several times")
    if out:
        lines.append(f"written   {out}")
    return Text("\n".join(lines))


def _beside(summary: Mapping[str, Any]) -> str:
    """Rows of the target or of existing data that were computed."""
    roles = {role: summary.get(f"computed_rows_{role}", 0) for role in ("target", "existing")}
    return "".join(f"; {counted(rows)} of {rows_called(role)}" for role, rows in roles.items() if rows)


def show_frame(console: Console, frame: pl.DataFrame, title: str, limit: int = 20) -> None:
    """The first rows of a frame."""
    rows = [[_cell(value) for value in row] for row in frame.head(limit).rows()]
    right = [name for name, dtype in frame.schema.items() if dtype.is_numeric()]
    console.print(show_table(title, frame.columns, rows, right=right))


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
