"""What methods that look at a target have in common: that they need one, and the choice by likeness to its rows."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from curate.embedding.similarity import comparable
from curate.errors import InputError
from curate.method import Data, Method
from curate.requests import Embed, HiddenStates, Rows
from curate.selectors.influence import cosines
from curate.selectors.round_robin import round_robin
from curate.selectors.similarity import Similarity
from curate.selectors.top_k import top_k
from curate.signals import RowScore, RowVector

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit
    from curate.selectors.picks import Picks

Pooling = Literal["embedder", "mean", "last", "weighted"]
COSINE = Similarity("cosine")
POOLING = "what a row's vector is: of `--embedder`, or the scoring model's states pooled over the conversation"


def target_of(method: Method, data: Data) -> Rows:
    """The target; InputError where there is none."""
    if data.target is None:
        raise InputError(f"{method.name} needs --target: examples of what the model should become good at")
    return data.target


def pooled(data: Data, rows: Rows, pooling: Pooling) -> Embed:
    """The request for a vector of each row, by the run's embedder or by the scoring model's own states."""
    return Embed(data.embedder if pooling == "embedder" else HiddenStates(data.model, pooling), rows)


@dataclass(frozen=True)
class Likeness(RowVector):
    """How like each row is to each row of the target: float32 [n, m], NaN on target rows that nothing is like.

    tasks  of each target row.
    """

    tasks: tuple[str | None, ...]


def likeness(method: Method, data: Data, pool: RowVector, target: RowVector, *, centre: bool = False) -> Likeness:
    """Cosines of pool and target; InputError where no row of the target has a vector.

    centre: of both sides the pool's mean is taken off first.
    """
    if centre and not pool.is_null.all():
        mean = pool.values[~pool.is_null].mean(axis=0, dtype=np.float64).astype(np.float32)
        pool, target = (RowVector(side.values - mean, side.reasons) for side in (pool, target))
    pool, target = comparable(pool, COSINE), comparable(target, COSINE)
    if target.is_null.all() and not pool.is_null.all():
        raise InputError(f"{method.name}: no row of the target has a vector to compare with")
    return Likeness(cosines(pool.values, target.values), pool.reasons, data.target_sources or (None,) * len(target))


class ByLikeness(Method):
    """What methods share that keep the rows likest to a target's."""

    larger_is_better: ClassVar[bool] = True

    rule: Literal["round-robin", "max", "tasks"] = Field(
        "round-robin", description="target rows take their likest in turn; the likest to any; or sources of the target in turn"
    )

    def score(self, signal: Likeness) -> RowScore:
        """[n]: the largest likeness to any row of the target."""
        values = np.full(len(signal), np.nan)
        there = ~signal.is_null
        values[there] = np.nanmax(signal.values[there], axis=1, initial=-np.inf).astype(np.float64)
        return RowScore(values, signal.reasons)

    def choose(self, signal: Likeness, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """By the rule; `stratum` is the target row or task that a pick was taken for."""
        if self.rule == "max":
            return top_k(self.score(signal).values, limit)
        values = np.where(signal.is_null[:, None], np.nan, signal.values)
        if self.rule == "round-robin":
            return round_robin(values, limit, names=[f"target row {j + 1}" for j in range(values.shape[1])])
        tasks = list(dict.fromkeys(signal.tasks))
        with np.errstate(invalid="ignore"):
            best = np.stack([_largest(values[:, [t == task for t in signal.tasks]]) for task in tasks], axis=1)
        return round_robin(best, limit, names=[task or "rows without a source" for task in tasks])


def _largest(values: np.ndarray) -> np.ndarray:
    """float [n]: of each row, NaN where all are."""
    found: np.ndarray = np.where(np.isnan(values), -np.inf, values).max(axis=1)
    return np.where(np.isneginf(found), np.nan, found)
