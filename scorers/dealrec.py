"""DEALRec's rule: influence and effort of every row, and picks from all of their range but the hardest part."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from curate.method import Cost, Data
from curate.requests import Request
from curate.selectors.influence import unit
from curate.selectors.quota import quota
from curate.selectors.tokens import share_of
from curate.signals import RowScore, RowVector
from scorers.gradient_rows import OfGradients

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit
    from curate.selectors.picks import Picks


class DEALRec(OfGradients):
    """Keep rows from the whole range of influence plus effort, except the hardest.

    Score: the cosine of a row's gradient with the pool's mean gradient (influence) plus the gradient's length (effort), each
    scaled from 0 to 1. The paper's influence is that of a recommender, with its Hessian. Source: arXiv 2401.17197.
    """

    name: ClassVar[str] = "dealrec"
    paper: ClassVar[str] = "2401.17197"
    cost: ClassVar[Cost] = "gradients"
    by_chance: ClassVar[bool] = True

    effort: float = Field(0.3, ge=0, description="weight of effort against influence; 1 for some sets in the paper")
    prune: float = Field(0.1, ge=0, lt=1, description="share of the rows, of the highest scores, that is left out")
    groups: int = Field(25, ge=1, description="parts of equal width of the score's range, which share the budget equally")
    clip: float = Field(0.01, ge=0, lt=0.5, description="share of rows at both ends that count as the last of the others")

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """A gradient of each row."""
        return [self.gradients(data, data.pool)]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> RowScore:
        """Influence plus effort [n], from 0 to 1 + the weight of effort."""
        given: RowVector = seen[self.gradients(data, data.pool)]
        lengths = np.linalg.norm(given.values.astype(np.float64), axis=1)
        length = RowScore(lengths, given.reasons).null(lengths == 0, "the gradient is zero")
        there = ~length.is_null
        if not there.any():
            return length
        mean = given.values[there].mean(axis=0, dtype=np.float64)
        towards = unit(given.values[there]) @ (mean / max(float(np.linalg.norm(mean)), 1e-30))
        values = np.full(len(given), np.nan)
        values[there] = _scaled(towards, self.clip) + self.effort * _scaled(length.values[there], self.clip)
        return RowScore.of(values, length)

    def choose(self, signal: RowScore, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """Equal shares of the score's range, rows at random inside; `stratum` is the part of the range."""
        there = np.flatnonzero(~signal.is_null)
        hardest = there[np.argsort(-signal.values[there], kind="stable")][: share_of(self.prune, len(there))]
        left = np.setdiff1d(there, hardest)
        strata: list[str | None] = [None] * len(signal)
        lowest, highest = (float(f(signal.values[left])) for f in (np.min, np.max)) if len(left) else (0.0, 1.0)
        width = (highest - lowest) / self.groups or 1.0
        for i, value in zip(left.tolist(), signal.values[left].tolist(), strict=True):
            strata[i] = f"{min(self.groups, 1 + int((value - lowest) / width)):03} of {self.groups}"
        return quota(strata, rng.permutation(left), limit, name="group")


def _scaled(values: np.ndarray, clip: float) -> np.ndarray:
    """From 0 to 1, what lies beyond the quantiles at both ends moved to them; 0 where all are the same."""
    low, high = np.quantile(values, [clip, 1 - clip])
    found: np.ndarray = (np.clip(values, low, high) - low) / (high - low) if high > low else np.zeros(len(values))
    return found
