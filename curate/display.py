"""Progress and messages on a terminal, always on standard error, so that standard output holds results alone."""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Terminal:
    """Bars with an ETA on a terminal; one line per finished piece of work where there is none (a log, CI)."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self.console, self.quiet = console, quiet
        self._progress: Progress | None = None
        self._depth = 0

    @contextlib.contextmanager
    def task(self, name: str, total: float | None, unit: str) -> Iterator[Callable[[float], None]]:
        if self.quiet or not self.console.is_terminal:
            yield lambda done: None
            if not self.quiet:
                self.console.print(f"done: {name}", highlight=False, style="dim", markup=False, soft_wrap=True)
            return
        if self._progress is None:
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[unit]}"),
                TimeElapsedColumn(),
                TextColumn("eta"),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self._progress.start()
        self._depth += 1
        handle = self._progress.add_task(name, total=total, unit=unit)
        try:
            yield lambda done: self._advance(handle, done)
        finally:
            self._progress.remove_task(handle)
            self._depth -= 1
            if self._depth == 0:
                self._progress.stop()
                self._progress = None

    def _advance(self, handle: int, done: float) -> None:
        if self._progress is not None:
            self._progress.advance(handle, done)  # type: ignore[arg-type]

    def say(self, text: str) -> None:
        if not self.quiet:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)
