"""Nearest to a target by embeddings."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from curate.method import Cost, Data
from curate.requests import Request
from scorers.aimed import POOLING, ByLikeness, Likeness, Pooling, likeness, pooled, target_of


class Nearest(ByLikeness):
    """Keep the rows whose embeddings lie nearest to those of target examples.

    Score: the largest cosine with any row of the target, in [-1, 1]; the target's rows take turns. Source: the embedding
    baseline of arXiv 2503.01807.
    """

    name: ClassVar[str] = "nearest"
    paper: ClassVar[str] = "2503.01807"
    cost: ClassVar[Cost] = "forward"

    pooling: Pooling = Field("embedder", description=POOLING)
    centre: bool = Field(False, description="take the pool's mean vector off all vectors first; for embeddings that lie close")

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """A vector of each row of the pool and of the target."""
        return [pooled(data, rows, self.pooling) for rows in (data.pool, target_of(self, data))]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Likeness:
        """Cosines [n, target rows]."""
        pool, target = (seen[request] for request in self.requests(data, seen))
        return likeness(self, data, pool, target, centre=self.centre)
