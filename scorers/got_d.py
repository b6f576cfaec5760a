"""GOT-D: rows whose weight would bring the pool nearest to a target, by optimal transport."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from curate.embedding.similarity import comparable
from curate.errors import InputError
from curate.method import Cost, Data, Method
from curate.requests import Request
from curate.selectors.transport import duals
from curate.signals import RowScore
from scorers.aimed import COSINE, POOLING, Pooling, pooled, target_of


@dataclass(frozen=True)
class Transported(RowScore):
    """Calibrated duals, and how far the transport was from done: error in the masses that arrive, and how many steps it took."""

    error: float
    iterations: int


class GOTD(Method):
    """Keep the rows whose weight in the pool, if it grew, would bring the pool nearest to target examples.

    Score: the calibrated gradient of the optimal transport between pool and target with respect to the row's mass; lower is kept
    first. Unlike a likeness it looks at what the pool as a whole has too much or too little of. Source: arXiv 2405.02774.
    """

    name: ClassVar[str] = "got-d"
    paper: ClassVar[str] = "2405.02774"
    cost: ClassVar[Cost] = "forward"
    larger_is_better: ClassVar[bool] = False

    epsilon: float = Field(0.1, gt=0, description="weight of the entropy, in units of the largest cost")
    iterations: int = Field(2000, ge=1, description="of Sinkhorn's algorithm, at most")
    tolerance: float = Field(1e-3, gt=0, description="it stops when the masses that arrive are as near as that to the target's")
    pooling: Pooling = Field("embedder", description=POOLING)

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """A vector of each row of the pool and of the target."""
        return [pooled(data, rows, self.pooling) for rows in (data.pool, target_of(self, data))]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Transported:
        """Calibrated duals [n], in units of the largest cost."""
        pool, target = (comparable(seen[request], COSINE) for request in self.requests(data, seen))
        there = np.flatnonzero(~pool.is_null)
        values = np.full(len(pool), np.nan)
        if not len(there):
            return Transported(values, pool.reasons, 0.0, 0)
        if target.is_null.all():
            raise InputError(f"{self.name}: no row of the target has a vector to compare with")
        rows, aims = COSINE.features(pool.values[there]), COSINE.features(target.values[~target.is_null])
        found = duals(rows, aims, epsilon=self.epsilon, iterations=self.iterations, tolerance=self.tolerance)
        others = (found.rows.sum() - found.rows) / max(1, len(there) - 1)
        values[there] = np.round(found.rows - others, 12)
        return Transported(values, pool.reasons, found.error, found.iterations)

    def remarks(self, data: Data, signal: Transported) -> list[str]:
        """Where the transport was not done."""
        if signal.error <= self.tolerance:
            return []
        said = f"the transport was not done after {signal.iterations:,} iterations"
        return [f"{said}: masses are off by {signal.error:.2g} of themselves; a larger epsilon is done sooner"]
