"""EDGE's guideline effectiveness: rows that examples of how it is done do not help with."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from curate.lm.views import AFTER_EXAMPLE
from curate.method import Cost, Data, Method
from curate.requests import Observe, Pairs, Request
from curate.signals import RowScore
from scorers.aimed import target_of


class EDGE(Method):
    """Keep the rows whose replies a guideline in the context makes least likelier: what it does not cover.

    Score: the share of the loss that falls when a row of the target stands before the row, the mean over a few of them; low is
    kept first. The paper has a guideline that people write, for agents, and takes the model's own replies. Source: arXiv
    2502.12494, whose formula was not verified.
    """

    name: ClassVar[str] = "edge"
    paper: ClassVar[str] = "2502.12494"
    cost: ClassVar[Cost] = "pairs"
    larger_is_better: ClassVar[bool] = False

    guidelines: int = Field(1, ge=1, description="first rows of the target, by id, that serve as guidelines")
    min_loss: float = Field(1e-3, ge=0, description="nats per token; of a loss below it a share is noise and null")

    def _pairs(self, data: Data) -> list[Pairs]:
        target = target_of(self, data)
        every = np.arange(data.pool.size)
        return [
            Pairs(data.pool, target, np.stack([every, np.full_like(every, j)], axis=1))
            for j in range(min(self.guidelines, target.size))
        ]

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """The loss of each row alone, and behind each guideline."""
        behind = [Observe(data.model, pairs, "mean_loss", AFTER_EXAMPLE) for pairs in self._pairs(data)]
        return [Observe(data.model, data.pool, "mean_loss"), *behind]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> RowScore:
        """The share of the loss that falls [n], at most 1; below 0 it rises."""
        alone, *behind = (seen[request] for request in self.requests(data, seen))
        small = alone.values < max(self.min_loss, np.finfo(np.float64).tiny)
        after = np.mean([part.values for part in behind], axis=0)
        ratio = np.divide(after, alone.values, out=np.full(len(alone), np.nan), where=~small)
        score = RowScore.of(np.where(small, 0.0, 1 - ratio), alone, *behind)
        return score.null(small, f"the loss is below {self.min_loss:g}")
