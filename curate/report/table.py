"""One way of printing a table."""

from collections.abc import Collection, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

NAME_WIDTH = 24  # up to which names in the first column stay on one line


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Collection[str] = ()) -> Table:
    """A plain table; columns named in `right` are aligned to the right. Cells are text, never markup."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    named = max((len(str(row[0])) for row in rows), default=0)
    for number, column in enumerate(columns):
        least = min(named, NAME_WIDTH) if number == 0 else None
        table.add_column(Text(printable(column)), justify="right" if column in right else "left", min_width=least)
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(printable(str(cell))) for cell in row))
    return table


def printable(text: str) -> str:
    """Without control characters: a row must not be able to drive the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
