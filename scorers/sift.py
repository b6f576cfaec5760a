"""SIFT: rows that tell most about a target, given those taken before."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from curate.embedding.similarity import comparable
from curate.errors import InputError
from curate.method import Cost, Data, Method
from curate.requests import Request
from curate.selectors.posterior import first_gains, posterior
from curate.selectors.round_robin import best_first
from curate.signals import RowScore
from scorers.aimed import COSINE, POOLING, Pooling, pooled, target_of

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit
    from curate.selectors.picks import Picks


@dataclass(frozen=True)
class Aimed:
    """Unit vectors of the pool, float32 [n, d], and of the target's rows that have one, float32 [m, d]; first gains [n]."""

    units: np.ndarray
    targets: np.ndarray
    gains: RowScore

    @property
    def reasons(self) -> np.ndarray:
        """object [n]: why a row cannot be compared, else None."""
        return self.gains.reasons

    def __len__(self) -> int:
        return len(self.units)


class SIFT(Method):
    """Keep the rows that leave the least uncertainty about target examples, one after the other.

    What a pick has told counts no more, so near-copies are not taken for one target row after another. Score: what the row alone
    takes from the sum of the targets' variances. Source: arXiv 2410.08020.
    """

    name: ClassVar[str] = "sift"
    paper: ClassVar[str] = "2410.08020"
    cost: ClassVar[Cost] = "forward"

    noise: float = Field(0.01, gt=0, description="variance of an observation; more is nearer to plain nearest neighbours")
    shortlist: float = Field(4.0, ge=1, description="of how many times the budget's rows, those of the best scores, it chooses")
    pooling: Pooling = Field("embedder", description=POOLING)

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """A vector of each row of the pool and of the target."""
        return [pooled(data, rows, self.pooling) for rows in (data.pool, target_of(self, data))]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Aimed:
        """Unit vectors, and what each row takes alone [n]; a variance is 1 for each target row beforehand."""
        pool, target = (comparable(seen[request], COSINE) for request in self.requests(data, seen))
        there = np.flatnonzero(~pool.is_null)
        if len(there) and target.is_null.all():
            raise InputError(f"{self.name}: no row of the target has a vector to compare with")
        units = np.zeros(pool.values.shape, dtype=np.float32)
        units[there] = COSINE.features(pool.values[there], np.float32)
        aims = COSINE.features(target.values[~target.is_null], np.float32)
        gains = np.full(len(pool), np.nan)
        if len(there):
            gains[there] = first_gains(units[there], aims, self.noise)
        return Aimed(units, aims, RowScore(gains, pool.reasons))

    def score(self, signal: Aimed) -> RowScore:
        """What each row takes alone [n]."""
        return signal.gains

    def choose(self, signal: Aimed, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """Greedy by what is left of the variance; `gain` is what a pick takes."""
        gains, there = signal.gains.values, np.flatnonzero(~signal.gains.is_null)
        cost = max(1e-12, float(limit.costs[there].mean())) if len(there) else 1.0
        many = max(200, math.ceil(self.shortlist * limit.capacity / cost))
        eligible = np.sort(best_first(gains, many)) if many < len(there) else there
        while float(limit.costs[eligible].sum()) < limit.capacity and len(eligible) < len(there):
            many *= 2  # short rows, of which a budget of tokens takes more
            eligible = np.sort(best_first(gains, many))
        found = posterior(signal.units, signal.targets, limit, noise=self.noise, eligible=eligible)
        return replace(found, nulls=int(signal.gains.is_null.sum()))
