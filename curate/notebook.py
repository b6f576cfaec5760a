"""What Jupyter shows of results: small tables of HTML in which text from data is text and nothing else."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from curate.comparison.tables import COLUMNS, NUMBERS, table_row, tables
from curate.wording import account_of, counted

if TYPE_CHECKING:
    from curate.comparison.verdict import Verdict
    from curate.pool import Pool
    from curate.scoring import Scores
    from curate.selection import Selection

ROWS = 10  # that a table shows
CHARACTERS = 90  # of a text in a cell
RIGHT = ' style="text-align:right"'


def pool_html(pool: "Pool") -> str:
    """How many conversations, from where, and the first few."""
    shown = list(range(min(5, len(pool))))
    lines = [[row_id, source, *_said(pool, i)] for i, row_id, source in zip(shown, pool.row_ids, pool.sources, strict=False)]
    said = f"{account_of(pool.report.counts)}; columns {', '.join(pool.column_names[:12])}"
    return _page(counted(len(pool), "conversation"), said, ["row_id", "source", "asked", "reply"], lines, len(pool))


def selection_html(selection: "Selection") -> str:
    """What was picked by what, and the first picks with their words."""
    summary, frame = selection.summary, selection.frame
    lines = [
        [pick["rank"], pick["score"], pick["reason"], *_said(selection.pool, at)]
        for pick, at in zip(frame.head(ROWS).iter_rows(named=True), selection.positions.tolist(), strict=False)
    ]
    of = f"{len(frame):,} of {counted(summary['rows_pool'])}"
    title = f"{of} by {summary['method']} at {summary['budget']}, {summary['order']}"
    null = [f"{counted(summary['rows_null'])} without a score"] if summary["rows_null"] else []
    notes = [*null, *summary["remarks"], *filter(None, [summary["shortfall"]]), *selection.manifest["notes"]]
    return _page(title, account_of(summary), ["rank", "score", "reason", "asked", "reply"], lines, len(frame), notes)


def scores_html(scores: "Scores") -> str:
    """How many rows have a score by each method, and the rows that the first method prefers."""
    frame = scores.frame
    order = np.argsort(-np.nan_to_num(scores.preferences[scores.methods[0]], nan=-np.inf), kind="stable")[:ROWS]
    lines = []
    for i in order.tolist():
        row = frame.row(i, named=True)
        lines.append([row["source"], row["tokens"], *(row[name] for name in scores.methods), *_said(scores.pool, i)])
    without = [f"{name}: {counted(null)} without a score" for name in scores.methods if (null := frame[name].null_count())]
    columns = ["source", "tokens", *scores.methods, "asked", "reply"]
    said = f"{account_of(scores.counts)}; by {scores.methods[0]}, the preferred first"
    return _page(f"Scores of {counted(len(frame))}", said, columns, lines, len(frame), [*without, *scores.manifest["remarks"]])


def verdict_html(verdict: "Verdict") -> str:
    """The headline, a table of arms for each evaluation set, and what the answers rest on."""
    parts = [f"<p><strong>{_text(verdict.headline)}</strong></p>"]
    for title, arms in tables(verdict.arms):
        rows = [table_row(arm) for arm in arms]
        parts += [f"<p>{_text(title)}</p>", _table(COLUMNS, [[row[name] for name in COLUMNS] for row in rows], NUMBERS)]
    return "<div>" + "".join(parts) + _list(verdict.remarks) + "</div>"


def _said(pool: "Pool", position: int) -> tuple[str, str]:
    """The first question and the last reply of a row."""
    messages: Sequence[Mapping[str, Any]] = pool.messages(position)
    asked = next((message["content"] for message in messages if message["role"] == "user"), "")
    replies = [message["content"] for message in messages if message["role"] == "assistant"]
    return str(asked or ""), str(replies[-1] or "") if replies else ""


def _page(
    title: str, said: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], of: int, notes: Iterable[str] = ()
) -> str:
    more = f"<p>{len(rows):,} of {of:,} shown</p>" if len(rows) < of else ""
    body = _table(
        columns, rows, {name for name, value in zip(columns, rows[0], strict=True) if _is_number(value)} if rows else ()
    )
    return f"<div><p><strong>{_text(title)}</strong><br>{_text(said)}</p>{body}{more}{_list(notes)}</div>"


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]], right: Iterable[str]) -> str:
    aligned = [RIGHT if name in right else ' style="text-align:left"' for name in columns]
    head = "".join(f"<th{style}>{_text(name)}</th>" for name, style in zip(columns, aligned, strict=True))
    lines = [
        "<tr>" + "".join(f"<td{style}>{_cell(value)}</td>" for value, style in zip(row, aligned, strict=True)) + "</tr>"
        for row in rows
    ]
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _list(lines: Iterable[str]) -> str:
    items = "".join(f"<li>{_text(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def _cell(value: Any) -> str:
    if value is None:
        return "<em>null</em>"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = " ".join(f"{value:,}".split() if _is_number(value) else str(value).split())
    return _text(text if len(text) <= CHARACTERS else f"{text[: CHARACTERS - 1]}\N{HORIZONTAL ELLIPSIS}")


def _text(text: str) -> str:
    """Text that no browser takes for a tag, without what is not seen: a row must not be able to write the page."""
    seen = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return escape(seen).replace("$", "&#36;")  # dollars begin formulas in notebooks


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
