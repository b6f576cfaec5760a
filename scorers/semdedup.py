"""SemDeDup: rows that are not like another of their cluster."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from curate.method import Cost, Data, Method
from curate.requests import Request
from curate.selectors.redundancy import nearest_before
from curate.selectors.top_k import top_k
from curate.signals import RowScore
from scorers.aimed import POOLING, Pooling, pooled
from scorers.clustered import clustered

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit
    from curate.selectors.picks import Picks


class SemDeDup(Method):
    """Leave out rows that say nearly what another row of their cluster says.

    Score: the largest cosine of the row with one that comes before it in its cluster, -1 for the first; lower is kept first.
    So the budget sets the threshold, or `eps` does. Source: arXiv 2303.09540.
    """

    name: ClassVar[str] = "semdedup"
    paper: ClassVar[str] = "2303.09540"
    cost: ClassVar[Cost] = "forward"
    larger_is_better: ClassVar[bool] = False

    clusters: Annotated[int, Field(ge=1)] | Literal["auto"] = Field("auto", description="auto: the square root of the rows")
    eps: float | None = Field(None, ge=0, le=2, description="leave out rows with a cosine above 1 - eps, even within the budget")
    first: Literal["far", "near", "random"] = Field("far", description="which rows of a cluster come first, from its middle")
    pooling: Pooling = Field("embedder", description=POOLING)

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """A vector of each row."""
        return [pooled(data, data.pool, self.pooling)]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> RowScore:
        """The largest cosine [n] with a row before it in its cluster."""
        found = clustered(seen[pooled(data, data.pool, self.pooling)], self.clusters, rng)
        shuffled = rng.permutation(len(found.rows))
        order = {
            "far": np.argsort(-found.distances, kind="stable"), "near": np.argsort(found.distances, kind="stable"),
            "random": shuffled,
        }[self.first]  # fmt: skip
        score = found.spread(nearest_before(found.units, found.clusters, order))
        if self.eps is None:
            return score
        return score.null(score.values > 1 - self.eps, f"a row before it in its cluster has a cosine above {1 - self.eps:g}")

    def choose(self, signal: RowScore, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """The rows least like one before them."""
        return top_k(signal.values, limit, largest=False)
