"""What methods have in common that take the best rows of every cluster of instructions."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from curate.lm.views import INSTRUCTION
from curate.method import Data, Method
from curate.quality import quality, quality_requests
from curate.requests import Embed, Request
from curate.selectors.kmeans import kmeans
from curate.selectors.quota import quota
from curate.signals import RowScore, RowVector
from curate.wording import counted

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit
    from curate.selectors.picks import Picks

ITERATIONS, POINTS = 20, 256  # of k-means, and rows per cluster that it learns from
MOST = 1000  # clusters, where their number goes by that of the rows


@dataclass(frozen=True)
class Clustered(RowScore):
    """The score of each row. clusters int64 [n], -1 for rows without one; barred bool [n]: has a score and is not picked."""

    clusters: np.ndarray
    barred: np.ndarray

    def strata(self) -> list[str | None]:
        """The name of each row's cluster."""
        return [str(cluster) if cluster >= 0 else None for cluster in self.clusters.tolist()]


class InClusters(Method):
    """K-means on embeddings of instructions, a share for every cluster, and in each the rows of the best score first."""

    scored_as: ClassVar[str]  # a quality by name, see `curate.quality`

    clusters: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="k of k-means; auto: the square root of half the rows, at most 1,000"
    )
    budget: Literal["proportional", "equal"] = Field("proportional", description="share of a cluster: by its size, or all alike")
    min_cluster: int = Field(5, ge=1, description="smaller clusters come last, as one: they are noise")

    def quality_name(self) -> str:
        """What rows are ranked by inside a cluster."""
        return self.scored_as

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """An embedding of each instruction, and what the score needs."""
        return [Embed(data.embedder, data.pool, INSTRUCTION), *quality_requests(self.quality_name(), data, seen)]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Clustered:
        """The score [n] and the cluster of each row."""
        vectors: RowVector = seen[Embed(data.embedder, data.pool, INSTRUCTION)]
        found = quality(self.quality_name(), data, seen, rng)
        score = RowScore.of(found.values, found, RowScore(np.where(vectors.is_null, np.nan, 0.0), vectors.reasons))
        there = np.flatnonzero(~vectors.is_null)
        k = min(MOST, max(1, round(np.sqrt(len(there) / 2)))) if self.clusters == "auto" else self.clusters
        clusters = np.full(len(score), -1, dtype=np.int64)
        clusters[there] = kmeans(vectors.values[there], k, rng, iterations=ITERATIONS, points=POINTS)
        return Clustered(score.values, score.reasons, clusters, self.barred(score, clusters))

    def barred(self, score: RowScore, clusters: np.ndarray) -> np.ndarray:
        """bool [n]: rows that are not picked although they have a score."""
        return np.zeros(len(score), dtype=bool)

    def remarks(self, data: Data, signal: Any) -> list[str]:
        """How many clusters."""
        return [counted(len(np.unique(signal.clusters[signal.clusters >= 0])), "cluster")]

    def choose(self, signal: Clustered, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """Shares by cluster, the highest scores first inside; `stratum` is the cluster."""
        values = signal.values
        order = np.argsort(-values, kind="stable")
        order = order[~np.isnan(values[order]) & ~signal.barred[order]]
        picks = quota(signal.strata(), order, limit, rule=self.budget, name="cluster", tiny=self.min_cluster - 1)
        return replace(picks, gain=values[picks.index], nulls=int(signal.is_null.sum()))
