"""Pieces of work and who runs them. One graph of jobs, several executors: a plain loop here, Prefect in `flows`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Kind = Literal["encode", "fit", "pass", "judge", "replies", "embed", "gradients", "selection", "arm", "verdict", "night"]


@dataclass(frozen=True)
class Job:
    """One coarse piece of work: `name` is what a person reads, `run` does it and keeps its result in the store."""

    kind: Kind
    name: str
    run: Callable[[], Any] = field(repr=False)


class Executor(Protocol):
    """Runs jobs that do not depend on one another and gives their results in order."""

    def run(self, jobs: Sequence[Job]) -> list[Any]: ...


class Loop:
    """The plain executor: one job after the other, in this process."""

    def run(self, jobs: Sequence[Job]) -> list[Any]:
        return [job.run() for job in jobs]
