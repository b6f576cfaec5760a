"""DEFT-UCS: of every cluster the rows nearest to its middle and those farthest from it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from curate.method import Data
from curate.requests import Request
from curate.selectors.prototypes import both_ends
from curate.selectors.quota import quota
from scorers.prototypes import Distances, ToMiddles

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit
    from curate.selectors.picks import Picks


class DEFTUCS(ToMiddles):
    """Keep an equal share of every cluster, half of it nearest to the cluster's middle and half farthest from it.

    Score: 1 - cosine with the middle of the row's cluster, from 0 to 2; neither end is better. Source: arXiv 2310.16776.
    """

    name: ClassVar[str] = "deft-ucs"
    paper: ClassVar[str] = "2310.16776"

    clusters: int = Field(7, ge=1, description="k of k-means")
    near: float = Field(0.5, ge=0, le=1, description="share of a cluster's picks that are its nearest, not its farthest")

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Distances:
        """Distances [n] to the middles of clusters."""
        return self.distances(data, seen, self.clusters, rng)

    def order(self) -> str:
        """From both ends of clusters."""
        return "from both ends of every cluster"

    def choose(self, signal: Distances, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """Equal shares by cluster, taken from both ends; `stratum` is the cluster."""
        there = np.flatnonzero(~signal.values.is_null)
        clusters = np.unique([signal.strata[i] or "" for i in there.tolist()], return_inverse=True)[1].astype(np.int64)
        order = there[both_ends(signal.values.values[there], clusters, self.near)]
        return quota(signal.strata, order, limit, name="cluster")
