"""Determinantal point process: rows that are good and unlike each other."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from curate.embedding.similarity import check_gamma, comparable, similarity_of
from curate.lm.gradient_config import FreshAdapters, GradientConfig
from curate.lm.models import ModelSpec
from curate.method import SETS, Cost, Data, Method
from curate.quality import DESCRIPTION, NONE, TOKENS, quality, quality_is, quality_readers, quality_requests, shares
from curate.requests import Embed, Gradients, Request
from curate.selectors.dpp import dpp
from curate.selectors.similarity import Similarity, SimilarityName
from curate.signals import RowScore, RowVector

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit
    from curate.selectors.picks import Picks


@dataclass(frozen=True)
class Rated:
    """What the choice reads: a vector and a quality per row, and how vectors are compared."""

    vectors: RowVector
    quality: RowScore | None  # above 0; None: all alike
    similarity: Similarity

    @property
    def reasons(self) -> np.ndarray:
        """object [n]: why a row has no vector or no quality, else None."""
        if self.quality is None:
            return self.vectors.reasons
        return np.where(self.vectors.is_null, self.vectors.reasons, self.quality.reasons)

    def __len__(self) -> int:
        return len(self.vectors)


class DPP(Method):
    """Keep rows of quality that are unlike each other: greedy picks of the largest determinant.

    Each step takes the row with the largest theta log q + (1 - theta) log d2: q its quality, d2 how much of it the rows before
    it do not span. Score: the quality q. Source: arXiv 2402.02318.
    """

    name: ClassVar[str] = "dpp"
    paper: ClassVar[str] = "2402.02318"
    cost: ClassVar[Cost] = "gradients"

    features: Literal["gradient", "embedding"] = Field(
        "gradient", description="what rows are compared by: gradients of the loss at fresh adapters, or the embedder's vectors"
    )
    dimensions: int = Field(4096, ge=1, le=1 << 22, description="that gradients are projected onto")
    store: Literal["float32", "int8"] = Field("float32", description="what gradients are kept in")
    lora_r: int = Field(512, ge=1, description="rank of the fresh adapters, cut to what the model's width allows")
    similarity: SimilarityName = Field("sphere", description="of two rows; cosine has no more directions than dimensions")
    gamma: float | None = Field(None, gt=0, description="of sphere and rbf; 10 for hidden states, 1 for others and for gradients")
    theta: float = Field(0.1, ge=0, le=1, description="weight of quality; 0 is diversity alone, 1 quality alone")
    quality: str = Field(TOKENS, description=f"{DESCRIPTION}, by rank")

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        check_gamma(self.similarity, self.gamma)
        quality_readers(self.quality)  # which says when there is no such method
        return self

    def _vector(self, data: Data) -> Embed | Gradients:
        if self.features == "embedding":
            return Embed(data.embedder, data.pool)
        adapters = FreshAdapters(r=self.lora_r)
        config = GradientConfig(
            parameters="lora_b", fresh=adapters, projection="sparse", dimensions=self.dimensions, dtype=self.store
        )
        return Gradients(data.model, data.pool, config)

    def readers(self) -> tuple[ModelSpec, ...]:
        """Those of the method that gives quality."""
        return quality_readers(self.quality)

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """A vector of each row, and what its quality needs."""
        return [self._vector(data), *quality_requests(self.quality, data, seen)]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Rated:
        """Vectors [n, d] and qualities [n] above 0: reply tokens, or ranks in (0, 1]."""
        given: RowVector = seen[self._vector(data)]
        embedder = data.embedder if self.features == "embedding" else None
        similarity = similarity_of(self.similarity, self.gamma, embedder, given)
        return Rated(comparable(given, similarity), self._quality(data, seen, rng), similarity)

    def _quality(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> RowScore | None:
        if self.quality == NONE:
            return None
        found = quality(self.quality, data, seen, rng)
        return found.null(found.values == 0, "no reply tokens") if self.quality == TOKENS else shares(found)

    def unscored(self) -> str | None:
        """That it chooses sets, where no quality is asked for."""
        return f"{self.name} {SETS}" if self.quality == NONE else None

    def scored_by(self) -> str | None:
        """The quality."""
        return quality_is(self.quality)

    def score(self, signal: Rated) -> RowScore:
        """The quality [n]; null where there is none."""
        if signal.quality is None:
            return RowScore.none(signal, f"{self.name} {SETS}")
        return RowScore.of(np.where(signal.vectors.is_null, np.nan, signal.quality.values), _nulls(signal.reasons))

    def choose(self, signal: Rated, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """Greedy MAP; rows that the picks span fill what is left of the budget, and are said."""
        quality = None if signal.quality is None or self.theta == 0 else signal.quality.values
        null = signal.reasons != None  # noqa: E711 (elementwise)
        return dpp(signal.vectors.values, limit, quality=quality, theta=self.theta, similarity=signal.similarity, null=null)


def _nulls(reasons: np.ndarray) -> RowScore:
    """A score that is null where there is a reason."""
    return RowScore(np.where(reasons == None, 0.0, np.nan), reasons)  # noqa: E711 (elementwise)
