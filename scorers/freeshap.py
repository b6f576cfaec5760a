"""FreeShap: Shapley values under kernel regression, as a ground truth for few rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from curate.errors import InputError
from curate.method import Cost, Data
from curate.requests import Observe, Request
from curate.selectors.shapley import shapley
from curate.signals import RowScore
from scorers.aimed import target_of
from scorers.gradient_rows import OfGradients

if TYPE_CHECKING:
    from curate.lm.encodings import Encodings


@dataclass(frozen=True)
class Shared(RowScore):
    """Shapley values [n]; error: the mean standard error of one over the standard deviation of all."""

    error: float


class FreeShap(OfGradients):
    """Keep the rows that add most, on average over all orders, to how much a target's loss falls.

    Score: the Shapley value of the row, in nats per token of the target, when the losses of rows are regressed away in the kernel
    of the model's gradients; no model is trained. For few rows, to judge cheaper scores by. Source: arXiv 2406.04606, on classes.
    """

    name: ClassVar[str] = "freeshap"
    paper: ClassVar[str] = "2406.04606"
    cost: ClassVar[Cost] = "gradients"

    permutations: int = Field(200, ge=1, description="random orders that contributions are averaged over")
    ridge: float = Field(0.1, gt=0, description="of the regression, in units of the mean square of a gradient's length")
    max_rows: int = Field(2000, ge=1, description="a larger pool is refused: time grows with the cube of its rows")

    def check(self, rows: "Encodings") -> None:
        """Refuse a pool that is too large."""
        if len(rows) > self.max_rows:
            raise InputError(
                f"{self.name} is for few rows and takes {self.max_rows:,} at most; the pool has {len(rows):,}: "
                "take a part of it (--limit), or set max_rows"
            )

    def _asked(self, data: Data) -> tuple[Request, Request, Request]:
        own, aimed = (self.gradients(data, rows) for rows in (data.pool, target_of(self, data)))
        return own, aimed, Observe(data.model, data.pool, "mean_loss")

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """A gradient of each row of the pool and of the target, and the pool's losses."""
        return list(self._asked(data))

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Shared:
        """Shapley values [n], nats per token."""
        own, aimed, loss = (seen[request] for request in self._asked(data))
        known = RowScore.of(loss.values, loss, RowScore(np.where(own.is_null, np.nan, 0.0), own.reasons))
        there, values = np.flatnonzero(~known.is_null), np.full(len(own), np.nan)
        if not len(there):
            return Shared(values, known.reasons, 0.0)
        if aimed.is_null.all():
            raise InputError(f"{self.name}: no row of the target has a gradient")
        rows = own.values[there].astype(np.float64)
        kernel, towards = rows @ rows.T, rows @ aimed.values[~aimed.is_null].mean(axis=0, dtype=np.float64)
        ridge = self.ridge * float(np.trace(kernel)) / len(there)
        found, error = shapley(
            kernel, known.values[there], towards, ridge=max(ridge, 1e-30), permutations=self.permutations, rng=rng
        )
        values[there] = found
        return Shared(values, known.reasons, float(error.mean() / max(found.std(), 1e-30)))

    def remarks(self, data: Data, signal: Shared) -> list[str]:
        """How much of the spread of values is the noise of too few orders."""
        return [f"a value's standard error is {signal.error:.0%} of the values' standard deviation"]
