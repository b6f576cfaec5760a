"""Superfiltering: IFD by a small model, and if wanted a diverse part of its best."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from curate.budget import Limit
from curate.embedding.similarity import comparable, similarity_of
from curate.lm.models import ModelSpec
from curate.method import Cost, Data
from curate.requests import Embed, Request
from curate.resources import default_model
from curate.selectors.facility_location import facility_location
from curate.selectors.similarity import Similarity, SimilarityName
from curate.selectors.vector_kernel import Vectors
from curate.signals import RowScore, RowVector
from scorers.ifd import IFD

if TYPE_CHECKING:
    import polars as pl

    from curate.selectors.picks import Picks


@dataclass(frozen=True)
class Spread(RowScore):
    """The ratio of each row and, where a diverse part is wanted, what rows are compared by."""

    vectors: RowVector | None = None
    similarity: Similarity | None = None


class Superfiltering(IFD):
    """Keep the rows whose instruction helps a small model least with the reply, but does help.

    Score: the perplexity of the reply behind its instruction over that of the reply alone, under `proxy`, which need not be
    the model to be trained: weak and strong models rank rows alike. With `diversity=facility-location` the picks are those
    of a shortlist by that ratio that represent it best. Source: arXiv 2402.00530.
    """

    name: ClassVar[str] = "superfiltering"
    paper: ClassVar[str] = "2402.00530"
    cost: ClassVar[Cost] = "views"

    ratio: Literal["loss", "ppl"] = Field("ppl", description="of mean losses, or of perplexities")
    proxy: str | None = Field(None, description="model folder or hub name; by default the embedded one (GPT-2 in the paper)")
    diversity: Literal["none", "facility-location"] = Field("none", description="what chooses from the shortlist")
    shortlist: float = Field(5.0, ge=1, description="of diversity: how many times the budget facility location chooses from")
    similarity: SimilarityName = Field("cosine", description="of diversity: of two embeddings")

    def readers(self) -> tuple[ModelSpec, ...]:
        """The proxy."""
        return (self._scorer(),)

    def _scorer(self, data: Data | None = None) -> ModelSpec:
        return ModelSpec(self.proxy or str(default_model()))

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """As of IFD, by the proxy; and an embedding of each row where a diverse part is wanted."""
        more: list[Request] = [] if self.diversity == "none" else [Embed(data.embedder, data.pool)]
        return [*super().requests(data, seen), *more]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Spread:
        """The ratio [n], and the embeddings."""
        score = super().signal(data, seen, rng)
        if self.diversity == "none":
            return Spread(score.values, score.reasons)
        given: RowVector = seen[Embed(data.embedder, data.pool)]
        similarity = similarity_of(self.similarity, None, data.embedder, given)
        vectors = comparable(given, similarity)
        score = RowScore.of(score.values, score, RowScore(np.where(vectors.is_null, np.nan, 0.0), vectors.reasons))
        return Spread(score.values, score.reasons, vectors, similarity)

    def choose(self, signal: Spread, table: "pl.DataFrame", limit: Limit, rng: np.random.Generator) -> "Picks":
        """The highest ratios, or of so many times the budget of them the rows that represent them best."""
        if signal.vectors is None or signal.similarity is None:
            return super().choose(signal, table, limit, rng)
        best = super().choose(signal, table, replace(limit, capacity=limit.capacity * self.shortlist), rng)
        if not len(best):
            return best
        among = np.sort(best.index)
        vectors = Vectors(signal.vectors.values[among], similarity=signal.similarity)
        picks = facility_location(vectors, Limit(limit.costs[among], limit.capacity, limit.unit), rng=rng)
        rank = {row: number for number, row in enumerate(best.index.tolist(), 1)}
        rows = among[picks.index]
        return replace(
            picks,
            index=rows,
            reason=[
                f"rank {rank[row]} of {len(best)} by IFD, pick {n} by facility location" for n, row in enumerate(rows.tolist(), 1)
            ],
            nulls=best.nulls,
            shortfall=picks.shortfall and super().choose(signal, table, limit, rng).shortfall,
        )
