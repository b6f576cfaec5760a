"""Progress of long work as an artifact, so that a person sees in Prefect's user interface how far a run is."""

import contextlib
import time
from collections.abc import Callable, Iterator
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from curate.progress import display

SECONDS = 5.0  # between two updates


class ProgressArtifact:
    """A display that keeps one progress artifact up to date, and passes on to the one that was there before.

    It shows the outermost piece of work that has a total: arms of a comparison rather than the passes inside.
    """

    def __init__(self, key: str) -> None:
        self.key, self.before = key, display()
        self._artifact: UUID | None = None
        self._busy, self._shown = False, 0.0

    @contextlib.contextmanager
    def task(self, name: str, total: float | None, unit: str) -> Iterator[Callable[[float], None]]:
        before: contextlib.AbstractContextManager[Callable[[float], None]] = contextlib.nullcontext(lambda done: None)
        if self.before is not None:
            before = self.before.task(name, total, unit)
        with before as advance:
            if self._busy or not total:
                yield advance
                return
            done, self._busy = 0.0, True

            def both(more: float) -> None:
                nonlocal done
                done += more
                advance(more)
                self._show(name, done, total, unit)

            self._show(name, 0.0, total, unit)
            try:
                yield both
                self._show(name, total, total, unit, now=True)
            finally:
                self._busy = False

    def say(self, text: str) -> None:
        if self.before is not None:
            self.before.say(text)

    def _show(self, name: str, done: float, total: float, unit: str, now: bool = False) -> None:
        if not now and self._artifact is not None and time.monotonic() - self._shown < SECONDS:
            return
        self._shown = time.monotonic()
        share, said = 100 * min(done / total, 1.0), f"{name}: {done:,.0f} of {total:,.0f} {unit}"
        if self._artifact is None:
            self._artifact = create_progress_artifact(share, key=self.key, description=said)
        else:
            update_progress_artifact(self._artifact, share, description=said)
