"""What a worker of a cluster does: it opens the store, does a piece, and says what that took."""

import threading
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import curate
from curate.errors import CurateError, InputError
from curate.jobs import Piece
from curate.lm.models import resolve_device
from curate.stages import Stage

_one = threading.Lock()  # a process holds one model


@dataclass(frozen=True)
class Settings:
    """Of the engine whose pieces they are, resolved where it runs. threads: of torch; None: as many as the worker has."""

    store: str
    device: str
    dtype: str
    max_length: int | None
    trust_remote_code: bool
    batch_tokens: int
    threads: int | None = None

    @classmethod
    def of(cls, engine: curate.Engine, threads: int | None = None) -> "Settings":
        return cls(
            str(engine.store.root.resolve()),
            resolve_device(engine.device),
            engine.pass_dtype,
            engine.max_length,
            engine.trust_remote_code,
            engine.batch_tokens,
            threads,
        )


@dataclass(frozen=True)
class Account:
    """What came of a piece: what it returned, the units that it was worth, its stages, and what is to be said of it."""

    result: Any
    units: int
    stages: list[Stage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@lru_cache(maxsize=1)
def _engine(settings: Settings) -> curate.Engine:
    """Kept with the model that it has in memory, for the next piece."""
    import torch

    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    return curate.Engine(
        store=curate.Store(settings.store),
        device=settings.device,
        dtype=settings.dtype,
        max_length=settings.max_length,
        trust_remote_code=settings.trust_remote_code,
        batch_tokens=settings.batch_tokens,
    )


def work(settings: Settings, piece: Piece) -> Account:
    """Do a piece. Raises InputError or CurateError with one sentence, and whatever else went wrong as it is."""
    with _one:
        try:
            engine = _engine(settings)
            stages, notes, units = len(engine.stages), len(engine.notes), 0

            def advance(done: int) -> None:
                nonlocal units
                units += done

            result = piece.run(engine, advance)
        except CurateError as error:  # one that carries more than its sentence does not survive the way back
            raise (InputError if isinstance(error, InputError) else CurateError)(str(error)) from None
        return Account(result, units, engine.stages[stages:], engine.notes[notes:])
