"""What may be spent, and what was: seconds of wall time, or floating-point operations."""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Any, ClassVar, Literal

from curate.comparison.choosing import Cost
from curate.comparison.tables import duration
from curate.errors import InputError
from curate.jobs import Executor, Job, Piece

Unit = Literal["seconds", "FLOPs"]

_SECONDS = {"s": 1, "sec": 1, "second": 1, "min": 60, "m": 60, "minute": 60, "h": 3600, "hour": 3600, "d": 86400, "day": 86400}
_TIMES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15, "e": 1e18}
_NUMBER = r"\d+(?:\.\d+)?(?:e\+?\d+)?"
_PART = re.compile(rf"({_NUMBER})\s*([a-z]+)\s*", re.IGNORECASE)
_FLOPS = re.compile(rf"({_NUMBER})\s*(?:([kmgtpe])?flops?)?", re.IGNORECASE)
_LEAST_FLOPS = 1e6  # a smaller number without a unit is a forgotten unit
CHEAP = ("selection", "verdict")  # kinds of jobs that are let through whatever is left
_HINT = "write a time such as 20min or 1h30min, or operations such as 1e15FLOPs"


@dataclass(frozen=True)
class Spend:
    """How much a search may cost. `amount`: in the unit, above 0."""

    amount: float
    unit: Unit

    @classmethod
    def parse(cls, text: "str | int | float | Spend") -> "Spend":
        """Read `90s`, `20min`, `1h30min`, `2d`, `1e15FLOPs`, `3 PFLOPs`; a number alone is of FLOPs.

        Raises InputError for anything else, for 0, and for a number alone that is too small to be of FLOPs.
        """
        if isinstance(text, Spend):
            return text
        written = str(text).strip()
        found = cls._flops(written) or cls._time(written)
        if found is None:
            raise InputError(f"the spend {written!r} cannot be read; {_HINT}")
        if not 0 < found.amount < float("inf"):
            raise InputError(f"the spend {written!r} must be above 0 and finite; {_HINT}")
        return found

    @classmethod
    def _flops(cls, written: str) -> "Spend | None":
        match = _FLOPS.fullmatch(written)
        if match is None:
            return None
        amount = float(match[1]) * _TIMES[(match[2] or "").lower()]
        if amount and amount < _LEAST_FLOPS:
            raise InputError(f"the spend {written!r} has no unit; {_HINT}")
        return cls(amount, "FLOPs")

    @classmethod
    def _time(cls, written: str) -> "Spend | None":
        parts = _PART.findall(written)
        seconds = [float(number) * _unit(unit) for number, unit in parts]
        return cls(sum(seconds), "seconds") if parts and not _PART.sub("", written) and all(x >= 0 for x in seconds) else None

    def say(self, amount: float) -> str:
        """An amount in this unit, as people write it."""
        return duration(amount) if self.unit == "seconds" else f"{amount:.2g} FLOPs"

    def __str__(self) -> str:
        return self.say(self.amount)

    def of(self, cost: Cost) -> float:
        """What a cost is in this unit."""
        return cost.seconds if self.unit == "seconds" else cost.flops


def _unit(name: str) -> float:
    """Seconds in a unit of time, in the singular or plural; below 0 for what is none."""
    return _SECONDS.get(name.lower(), _SECONDS.get(name.lower().removesuffix("s"), -inf))


class Overspent(Exception):
    """The next piece of work does not fit into what is left."""


@dataclass(frozen=True)
class Item:
    """What one part of a search took. `predicted`: in the unit of the spend; None where nothing was."""

    what: str
    seconds: float
    flops: float
    predicted: float | None = None


@dataclass
class Ledger:
    """What a search has spent so far, part by part.

    What the store has of an earlier run of the same search counts with what it took then: the spend is that of the answer.
    `clock` tells seconds; tests give their own.
    """

    spend: Spend
    clock: Callable[[], float] = time.monotonic
    items: list[Item] = field(default_factory=list)
    _running: "Running | None" = None

    @property
    def spent(self) -> float:
        """In the unit of the spend, the part that runs now included."""
        done = sum(self.spend.of(Cost(item.seconds, item.flops)) for item in self.items)
        return done + (self._running.so_far() if self._running else 0.0)

    @property
    def left(self) -> float:
        """What is left; below 0 when it was overspent."""
        return self.spend.amount - self.spent

    @contextmanager
    def part(self, what: str, *, each: float = 0.0, reserve: float = 0.0, predicted: float | None = None) -> "Iterator[Running]":
        """Take down what a block takes.

        each     what one arm of it is thought to take: `admit` raises Overspent before an arm that would not fit.
        reserve  what must be left when it ends, at that speed.
        """
        running = Running(self, self.clock(), each, reserve)
        self._running = running
        try:
            yield running
        finally:
            self._running = None
            seconds = max(self.clock() - running.began, running.took.seconds)
            self.items.append(Item(what, seconds, running.took.flops, predicted))


@dataclass
class Running:
    """A part of a search that runs. `took`: what its pieces took by their own accounts, whichever run did them."""

    ledger: Ledger
    began: float
    each: float
    reserve: float
    arms: int = 0
    took: Cost = Cost()

    def add(self, *costs: Cost) -> None:
        """Take down what pieces of work took."""
        self.took = Cost(self.took.seconds + sum(c.seconds for c in costs), self.took.flops + sum(c.flops for c in costs))

    def so_far(self) -> float:
        if self.ledger.spend.unit == "seconds":
            return max(self.ledger.clock() - self.began, self.took.seconds)
        return max(self.arms * self.each, self.took.flops)

    def admit(self, job: Job) -> None:
        """Raise Overspent where a job does not fit any more."""
        # Arms that were slower than thought will go on being so, and what is to come too.
        slower = max(1.0, self.so_far() / (self.arms * self.each)) if self.arms and self.each else 1.0
        needed = slower * ((self.each if job.kind == "arm" else 0.0) + self.reserve)
        if job.kind not in CHEAP and self.ledger.spent + needed > self.ledger.spend.amount:
            raise Overspent(job.name)
        self.arms += job.kind == "arm"


@dataclass
class Metered:
    """An executor that asks before each job whether it still fits."""

    inner: Executor
    running: Running
    elsewhere: ClassVar[bool] = False  # arms are let in one by one

    def run(self, jobs: Sequence[Job]) -> list[Any]:
        results = []
        for job in jobs:
            self.running.admit(job)
            results += self.inner.run([job])
        return results

    def spread(self, pieces: Iterable[Piece], engine: Any, advance: Callable[[int], None]) -> Iterator[Any]:
        """The pieces of a job that was let in."""
        return self.inner.spread(pieces, engine, advance)
