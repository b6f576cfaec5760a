"""Rows in clusters of their embeddings, by direction, with how far each lies from the middle of its own."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from curate.embedding.similarity import comparable
from curate.selectors.clusters import best_k
from curate.selectors.kmeans import kmeans
from curate.selectors.similarity import Similarity
from curate.signals import RowScore, RowVector

COSINE = Similarity("cosine")
BLOCK = 2**14  # rows whose middles are held at once
DIGITS = 6  # of distances: what lies nearer is as far


@dataclass(frozen=True)
class Clustered:
    """The m rows that have a direction, of all n.

    rows       int64 [m], their positions.
    units      float32 [m, d]. clusters: int64 [m]. distances: float64 [m], 1 - cosine with the middle of the cluster.
    reasons    object [n], why a row is not among them, else None.
    """

    rows: np.ndarray
    units: np.ndarray
    clusters: np.ndarray
    distances: np.ndarray
    reasons: np.ndarray

    def spread(self, values: np.ndarray) -> RowScore:
        """Values [m] as a score of all n rows."""
        whole = np.full(len(self.reasons), np.nan)
        whole[self.rows] = values
        return RowScore(whole, self.reasons)

    @property
    def strata(self) -> list[str | None]:
        """The cluster of each of the n rows, None where it has none."""
        found: list[str | None] = [None] * len(self.reasons)
        for i, cluster in zip(self.rows.tolist(), self.clusters.tolist(), strict=True):
            found[i] = str(cluster)
        return found


def clustered(
    vectors: RowVector, k: int | Literal["auto", "silhouette"], rng: np.random.Generator, *, starts: int = 1
) -> Clustered:
    """K-means on unit vectors. k: a number; auto: the square root of the rows; silhouette: the best of several.

    starts: how often k-means begins anew; the best is kept.
    """
    given = comparable(vectors, COSINE)
    rows = np.flatnonzero(~given.is_null)
    units = COSINE.features(given.values[rows], np.float32)
    if isinstance(k, int):
        many = k
    else:
        many = max(1, math.isqrt(len(rows))) if k == "auto" else best_k(units, rng)
    clusters = kmeans(units, many, rng, starts=starts)
    middles = middles_of(units, clusters)
    cosine = np.empty(len(rows))
    for start in range(0, len(rows), BLOCK):
        part = slice(start, start + BLOCK)
        cosine[part] = np.einsum("nd,nd->n", units[part], middles[clusters[part]], dtype=np.float64)
    return Clustered(rows, units, clusters, np.round(1 - cosine, DIGITS), given.reasons)


def middles_of(units: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """float64 [k, d]: the direction of each cluster's mean; zeros for clusters without rows, or without a direction."""
    sums = np.zeros((int(clusters.max(initial=-1)) + 1, units.shape[1]))
    order = np.argsort(clusters, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(clusters[order])) + 1):
        if len(members):
            sums[clusters[members[0]]] = units[members].sum(axis=0, dtype=np.float64)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0)
