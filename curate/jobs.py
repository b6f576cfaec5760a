"""Pieces of work and who runs them. One graph of jobs, several executors: a plain loop here, Prefect in `flows`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

Kind = Literal["encode", "fit", "pass", "judge", "replies", "embed", "gradients", "selection", "arm", "verdict", "night"]


@dataclass(frozen=True)
class Job:
    """One coarse piece of work: `name` is what a person reads, `run` does it and keeps its result in the store."""

    kind: Kind
    name: str
    run: Callable[[], Any] = field(repr=False)


class Piece(Protocol):
    """A part of a job as plain values, so that any process that sees the store can do it.

    run  does it, keeps what comes of it in the store, and returns its account. engine: a `curate.Engine`, which need not hold
         the pools. advance: gets the number of units just done.
    """

    @property
    def kind(self) -> Kind: ...

    @property
    def name(self) -> str: ...

    def run(self, engine: Any, advance: Callable[[int], None]) -> Any: ...


class Executor(Protocol):
    """Runs jobs that do not depend on one another, and pieces of a job, and gives what comes of them in order.

    elsewhere  whether pieces run in other processes, several at a time.
    """

    @property
    def elsewhere(self) -> bool: ...

    def run(self, jobs: Sequence[Job]) -> list[Any]: ...

    def spread(self, pieces: Iterable[Piece], engine: Any, advance: Callable[[int], None]) -> Iterator[Any]: ...


class InTurn:
    """Runs pieces one after the other, in this process."""

    elsewhere: ClassVar[bool] = False

    def spread(self, pieces: Iterable[Piece], engine: Any, advance: Callable[[int], None]) -> Iterator[Any]:
        for piece in pieces:
            yield piece.run(engine, advance)


class Loop(InTurn):
    """The plain executor: one job after the other, in this process."""

    def run(self, jobs: Sequence[Job]) -> list[Any]:
        return [job.run() for job in jobs]
