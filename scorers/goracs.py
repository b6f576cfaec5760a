"""GORACS: a set of rows near a target as a whole, of rows with large gradients."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from curate.embedding.similarity import comparable
from curate.errors import InputError
from curate.method import Cost, Data
from curate.requests import Request
from curate.selectors.picks import Picks, prefix, shortfall
from curate.selectors.set_transport import cover, exchanged
from curate.signals import RowScore
from scorers.aimed import COSINE, POOLING, Pooling, pooled, target_of
from scorers.gradient_rows import OfGradients

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit

PAIRS = 20_000  # of picks and target rows, up to which exchanges are tried


@dataclass(frozen=True)
class Costed:
    """costs: float64 [n, m], of carrying mass from a row to a target row less the row's bonus, 0 to 1; NaN for null rows."""

    costs: np.ndarray
    reasons: np.ndarray

    def __len__(self) -> int:
        return len(self.costs)


class GORACS(OfGradients):
    """Keep a set of rows that as a whole lies near target examples, preferring rows with large gradients.

    The set's objective is the optimal transport from its rows to the target's at the cost distance - bonus x length of the
    gradient. Score: the row's mean cost to the target's rows; lower is better. Source: arXiv 2506.04015.
    """

    name: ClassVar[str] = "goracs"
    paper: ClassVar[str] = "2506.04015"
    cost: ClassVar[Cost] = "gradients"
    larger_is_better: ClassVar[bool] = False

    bonus: float = Field(0.1, ge=0, description="weight of the gradient's length against the distance")
    exchanges: int = Field(10, ge=0, description="of a pick for a better row, at most; 100 in the paper")
    pooling: Pooling = Field("embedder", description=POOLING)

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """A vector of each row of the pool and of the target, and a gradient of each row of the pool."""
        vectors = [pooled(data, rows, self.pooling) for rows in (data.pool, target_of(self, data))]
        return [*vectors, self.gradients(data, data.pool)]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Costed:
        """Costs [n, target rows], from 0 to 1."""
        own, aims, gradients = (seen[request] for request in self.requests(data, seen))
        pool, target = comparable(own, COSINE), comparable(aims, COSINE)
        reasons = np.where(pool.is_null, pool.reasons, gradients.reasons)
        there = np.flatnonzero(reasons == None)  # noqa: E711 (elementwise)
        costs = np.full((len(pool), int((~target.is_null).sum())), np.nan)
        if not len(there):
            return Costed(costs, reasons)
        if target.is_null.all():
            raise InputError(f"{self.name}: no row of the target has a vector to compare with")
        rows, others = COSINE.features(pool.values[there]), COSINE.features(target.values[~target.is_null])
        distances = np.sqrt(np.maximum(2 - 2 * rows @ others.T, 0.0))
        lengths = np.linalg.norm(gradients.values[there].astype(np.float64), axis=1)
        raw = _over_largest(distances) - self.bonus * _over_largest(lengths)[:, None]
        costs[there] = _over_largest(raw - raw.min())
        return Costed(costs, reasons)

    def score(self, signal: Costed) -> RowScore:
        """The mean cost [n] to the target's rows."""
        values = np.full(len(signal), np.nan)
        there = signal.reasons == None  # noqa: E711 (elementwise)
        values[there] = signal.costs[there].mean(axis=1)
        return RowScore(values, signal.reasons)

    def order(self) -> str:
        """By the greedy cover."""
        return "in the order in which they cover the target"

    def choose(self, signal: Costed, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> Picks:
        """Greedy cover of the target, round after round, then exchanges; these for a budget of rows and small sets alone."""
        there = np.flatnonzero(signal.reasons == None)  # noqa: E711 (elementwise)
        costs = signal.costs[there]
        least = max(1e-12, float(limit.costs[there].min())) if len(there) else 1.0
        order = cover(costs, int(min(len(there), limit.capacity // least)))
        picked = prefix(there[order], limit)
        said: tuple[str, ...] = ()
        if limit.unit == "rows" and 0 < len(picked) < len(there) and self.exchanges:
            if len(picked) * costs.shape[1] <= PAIRS:
                found, history = exchanged(costs, order[: len(picked)], self.exchanges)
                picked = there[found]
                said = (f"{len(history) - 1} exchanges took the transport's cost from {history[0]:.4g} to {history[-1]:.4g}",)
            else:
                said = (f"no exchanges were tried: picks and target make more than {PAIRS:,} pairs",)
        gain = self.score(signal).values[picked]
        reasons = [f"mean cost {value:.4g} to the target's rows" for value in gain.tolist()]
        return Picks(
            picked, gain, [None] * len(picked), reasons, len(signal) - len(there), shortfall(picked, there, limit), remarks=said
        )


def _over_largest(values: np.ndarray) -> np.ndarray:
    largest = float(values.max())
    found: np.ndarray = values / largest if largest > 0 else values
    return found
