"""Progress of long work, without the library knowing who shows it. Silent until a front end installs a display."""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Protocol


class Display(Protocol):
    """What a front end provides: `task` opens a bar and yields a function that advances it by so many units."""

    def task(self, name: str, total: float | None, unit: str) -> contextlib.AbstractContextManager[Callable[[float], None]]: ...

    def say(self, text: str) -> None: ...


_display: ContextVar[Display | None] = ContextVar("display", default=None)


@contextlib.contextmanager
def shown_on(display: Display) -> Iterator[None]:
    """Show progress on this display inside the block."""
    token = _display.set(display)
    try:
        yield
    finally:
        _display.reset(token)


def display() -> Display | None:
    """What shows progress now."""
    return _display.get()


@contextlib.contextmanager
def task(name: str, total: float | None = None, unit: str = "rows") -> Iterator[Callable[[float], None]]:
    """A piece of work of `total` units; call what it yields with the units just done."""
    display = _display.get()
    if display is None:
        yield lambda done: None
    else:
        with display.task(name, total, unit) as advance:
            yield advance


def say(text: str) -> None:
    """One line for the person who watches."""
    display = _display.get()
    if display is not None:
        display.say(text)
