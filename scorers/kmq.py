"""kMQ: k-means clusters, each with its share, and rows of quality drawn inside."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from curate.budget import Limit
from curate.errors import InputError
from curate.lm.models import ModelSpec
from curate.method import Cost, Data, Method
from curate.quality import DESCRIPTION, quality, quality_is, quality_readers, quality_requests
from curate.requests import Embed, Request
from curate.selectors.clusters import CANDIDATES, ROWS_PER_CLUSTER, best_k
from curate.selectors.kmeans import kmeans
from curate.selectors.picks import Picks
from curate.selectors.quota import quota
from curate.selectors.weighted import weighted_order
from curate.signals import RowScore, RowVector
from curate.wording import counted

if TYPE_CHECKING:
    import polars as pl

ITERATIONS, STARTS, POINTS = 300, 5, 256  # of k-means, as in the authors' code


@dataclass(frozen=True)
class Clustered:
    """strata: the cluster of each row, None where it has none. log_weights: float64 [n], of a row in its cluster."""

    strata: list[str | None]
    log_weights: np.ndarray
    quality: RowScore
    reasons: np.ndarray

    def __len__(self) -> int:
        return len(self.strata)


class KMQ(Method):
    """Cluster the rows' embeddings by k-means, give each cluster its share, and draw rows inside by their quality.

    A row is drawn with a chance in proportion to its quality, without replacement. Source: Diversify and Conquer, arXiv
    2409.11378 (kMQ; with `quality=none` it is kM-Random).
    """

    name: ClassVar[str] = "kmq"
    paper: ClassVar[str] = "2409.11378"
    cost: ClassVar[Cost] = "forward"
    by_chance: ClassVar[bool] = True

    clusters: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="k of k-means; auto: the one of best silhouette"
    )
    quality: str = Field("tokens", description=DESCRIPTION)
    weight: Literal["linear", "softmax", "rank"] = Field(
        "linear", description="chance of a row by its quality: in proportion to it, to its exponential, or to its rank"
    )
    budget: Literal["proportional", "equal"] = Field("proportional", description="share of a cluster: by its size, or all alike")

    @model_validator(mode="after")
    def _has_a_quality(self) -> Self:
        quality_readers(self.quality)  # which says when there is no such method, or it can give none
        return self

    def _embedding(self, data: Data) -> Embed:
        return Embed(data.embedder, data.pool)

    def readers(self) -> tuple[ModelSpec, ...]:
        """Those of the method that gives quality."""
        return quality_readers(self.quality)

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """An embedding of each row, and what its quality needs."""
        return [self._embedding(data), *quality_requests(self.quality, data, seen)]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Clustered:
        """The cluster and the weight of each row."""
        vectors: RowVector = seen[self._embedding(data)]
        scores = quality(self.quality, data, seen, rng)
        reasons = RowScore.none(vectors, "").reasons
        reasons[reasons == ""] = scores.reasons[reasons == ""]
        there = np.flatnonzero(reasons == None)  # noqa: E711 (elementwise)
        strata: list[str | None] = [None] * len(vectors)
        points = vectors.values[there]
        k = best_k(points, rng) if self.clusters == "auto" else self.clusters
        found = kmeans(points, k, rng, iterations=ITERATIONS, starts=STARTS, points=POINTS)
        for i, cluster in zip(there.tolist(), found.tolist(), strict=True):
            strata[i] = str(cluster)
        weights = np.full(len(vectors), -np.inf)
        weights[there] = self._log_weights(scores.values[there])
        return Clustered(strata, weights, scores, reasons)

    def _log_weights(self, values: np.ndarray) -> np.ndarray:
        if self.weight == "softmax":
            return values
        if self.weight == "rank":
            from curate.selectors.window import mean_rank

            return np.log(mean_rank(values) + 1)
        if (values < 0).any():
            raise InputError(f"quality {self.quality} is below 0 for some rows; use weight=softmax or weight=rank")
        with np.errstate(divide="ignore"):
            return np.log(values)

    def score(self, signal: Clustered) -> RowScore:
        """The quality of each row."""
        return RowScore(np.where(signal.reasons == None, signal.quality.values, np.nan), signal.reasons)  # noqa: E711

    def scored_by(self) -> str | None:
        """The quality."""
        return quality_is(self.quality)

    def remarks(self, data: Data, signal: Any) -> list[str]:
        """How many clusters, and why one where k was to be found."""
        there = [stratum for stratum in signal.strata if stratum is not None]
        found, least = counted(len(set(there)), "cluster"), CANDIDATES[0]
        if self.clusters == "auto" and 0 < len(there) < least * ROWS_PER_CLUSTER:
            few = f"{counted(len(there))} are too few for {least} clusters of {ROWS_PER_CLUSTER}"
            return [f"{few}: one cluster; set clusters=... to have more"]
        if self.clusters == "auto" and len(set(there)) == 1:
            return ["no number of clusters parts these rows, whose embeddings are alike: one cluster"]
        return [f"{found}{' by silhouette' if self.clusters == 'auto' else ''}"]

    def choose(self, signal: Clustered, table: "pl.DataFrame", limit: Limit, rng: np.random.Generator) -> Picks:
        """Shares by cluster, rows by weight inside; `stratum` is the cluster."""
        there = np.flatnonzero(signal.reasons == None)  # noqa: E711 (elementwise)
        order = there[weighted_order(signal.log_weights[there], rng)]
        return quota(signal.strata, order, limit, rule=self.budget, name="cluster")
