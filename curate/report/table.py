"""One way of printing a table."""

from collections.abc import Collection, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.segment import Segment
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


# What drives a terminal (C0, DEL, C1) or turns the order of what it shows; not the white space of other scripts.
_COMMANDS = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd")


def harmless(text: str) -> str:
    """Without what a terminal would obey."""
    return text.translate(_COMMANDS)


class Harmless(RenderHook):
    """Of a console: whatever it shows passes through `harmless`, but for what rich itself says to the terminal."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """rich asks this of a render hook."""
        return [_Shown(one) for one in renderables]


class _Shown:
    def __init__(self, inner: ConsoleRenderable) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for text, style, control in console.render(self._inner, options):
            yield Segment(text if control else harmless(text), style, control)
