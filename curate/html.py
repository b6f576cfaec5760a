"""Results as small tables of HTML for Jupyter, in which text from data is text and nothing else."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from curate.wording import account_of, counted

if TYPE_CHECKING:
    from curate.pool.pool import Pool

CHARACTERS = 90  # of a text in a cell
RIGHT = ' style="text-align:right"'


def pool_html(pool: "Pool") -> str:
    """How many conversations, from where, and the first few."""
    shown = list(range(min(5, len(pool))))
    lines = [[row_id, source, *exchange(pool, i)] for i, row_id, source in zip(shown, pool.row_ids, pool.sources, strict=False)]
    said = f"{account_of(pool.report.counts)}; columns {', '.join(pool.column_names[:12])}"
    return page_html(counted(len(pool), "conversation"), said, ["row_id", "source", "asked", "reply"], lines, len(pool))


def exchange(pool: "Pool", position: int) -> tuple[str, str]:
    """The first question and the last reply of a row."""
    messages: Sequence[Mapping[str, Any]] = pool.messages(position)
    asked = next((message["content"] for message in messages if message["role"] == "user"), "")
    replies = [message["content"] for message in messages if message["role"] == "assistant"]
    return str(asked or ""), str(replies[-1] or "") if replies else ""


def page_html(
    title: str, said: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], of: int, notes: Iterable[str] = ()
) -> str:
    """A title, a line below it, the first rows of a table of so many, and notes."""
    more = f"<p>{len(rows):,} of {of:,} shown</p>" if len(rows) < of else ""
    body = table_html(
        columns, rows, {name for name, value in zip(columns, rows[0], strict=True) if _is_number(value)} if rows else ()
    )
    return f"<div><p><strong>{escaped(title)}</strong><br>{escaped(said)}</p>{body}{more}{list_html(notes)}</div>"


def table_html(columns: Sequence[str], rows: Iterable[Sequence[Any]], right: Iterable[str]) -> str:
    """A table; `right` are the columns of numbers."""
    aligned = [RIGHT if name in right else ' style="text-align:left"' for name in columns]
    head = "".join(f"<th{style}>{escaped(name)}</th>" for name, style in zip(columns, aligned, strict=True))
    lines = [
        "<tr>" + "".join(f"<td{style}>{_cell(value)}</td>" for value, style in zip(row, aligned, strict=True)) + "</tr>"
        for row in rows
    ]
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def list_html(lines: Iterable[str]) -> str:
    """Points, or nothing."""
    items = "".join(f"<li>{escaped(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def _cell(value: Any) -> str:
    if value is None:
        return "<em>null</em>"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = " ".join(f"{value:,}".split() if _is_number(value) else str(value).split())
    return escaped(text if len(text) <= CHARACTERS else f"{text[: CHARACTERS - 1]}\N{HORIZONTAL ELLIPSIS}")


def escaped(text: str) -> str:
    """Text that no browser takes for a tag, without what is not seen: a row must not be able to write the page."""
    seen = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return escape(seen).replace("$", "&#36;")  # dollars begin formulas in notebooks


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
