"""MASS-like: rows that match a graph of a target's skills, which are clusters here."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from curate.embedding.similarity import comparable
from curate.errors import InputError
from curate.method import Cost, Data, Method
from curate.requests import Request
from curate.selectors.kmeans import kmeans
from curate.signals import RowScore
from scorers.aimed import COSINE, POOLING, Pooling, pooled, target_of
from scorers.clustered import middles_of


class MASS(Method):
    """Keep the rows that are near the skills of target examples and near those that go together.

    Score: s^T A s, s the row's likeness to each skill, A how often skills occur and occur together in the target. Skills are
    clusters of the target's embeddings; the paper has a strong model extract them. Source: arXiv 2503.14917.
    """

    name: ClassVar[str] = "mass"
    paper: ClassVar[str] = "2503.14917"
    cost: ClassVar[Cost] = "forward"

    skills: int = Field(16, ge=1, description="clusters of the target that stand for skills")
    per_row: int = Field(3, ge=1, description="skills of a row of the target: its nearest clusters")
    form: Literal["quadratic", "linear"] = Field("quadratic", description="linear: the sum over skills of (A s)")
    pooling: Pooling = Field("embedder", description=POOLING)

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """A vector of each row of the pool and of the target."""
        return [pooled(data, rows, self.pooling) for rows in (data.pool, target_of(self, data))]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> RowScore:
        """How well each row matches the skills [n], unitless."""
        pool, target = (comparable(seen[request], COSINE) for request in self.requests(data, seen))
        there, values = np.flatnonzero(~pool.is_null), np.full(len(pool), np.nan)
        if not len(there):
            return RowScore(values, pool.reasons)
        if target.is_null.all():
            raise InputError(f"{self.name}: no row of the target has a vector to compare with")
        aims = COSINE.features(target.values[~target.is_null])
        middles = middles_of(aims, kmeans(aims, self.skills, rng, starts=5))
        middles = middles[middles.any(axis=1)]  # of clusters that have rows
        graph = skill_graph(aims @ middles.T, self.per_row)
        match = np.maximum(COSINE.features(pool.values[there]) @ middles.T, 0.0)
        towards = match @ graph
        values[there] = towards.sum(axis=1) if self.form == "linear" else np.einsum("nk,nk->n", towards, match)
        return RowScore(values, pool.reasons)


def skill_graph(likeness: np.ndarray, per_row: int) -> np.ndarray:
    """float64 [k, k]: how often skills occur (diagonal, 1 in all) and how often two occur together (the others, 1 in all).

    likeness  float [m, k] of the target's rows to skills; a row has the `per_row` skills that it is likest to.
    """
    m, k = likeness.shape
    has = np.zeros((m, k))
    np.put_along_axis(has, np.argsort(-likeness, axis=1, kind="stable")[:, :per_row], 1.0, axis=1)
    together = has.T @ has
    nodes = np.diag(together).copy()
    np.fill_diagonal(together, 0.0)
    pairs = together.sum()
    return np.diag(nodes / nodes.sum()) + (together / pairs if pairs else together)
