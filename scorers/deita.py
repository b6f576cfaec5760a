"""DEITA's rule: the best rows by a score that are not like a better one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from curate.embedding.similarity import comparable
from curate.lm.models import ModelSpec
from curate.method import Cost, Data, Method
from curate.quality import DESCRIPTION, quality, quality_is, quality_readers, quality_requests
from curate.requests import Request
from curate.selectors.diversity_filter import diversity_filter
from curate.signals import RowScore, RowVector
from scorers.aimed import COSINE, POOLING, Pooling, pooled

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit
    from curate.selectors.picks import Picks


@dataclass(frozen=True)
class Rated:
    """What the choice reads: a vector and a quality per row."""

    vectors: RowVector
    quality: RowScore

    @property
    def reasons(self) -> np.ndarray:
        """object [n]: why a row has no vector or no quality, else None."""
        return np.where(self.vectors.is_null, self.vectors.reasons, self.quality.reasons)

    def __len__(self) -> int:
        return len(self.vectors)


class DEITA(Method):
    """Keep the best rows by a quality, but none that is too like a better one.

    Rows are walked from the best to the worst and taken where no cosine with a row taken before is above the threshold. Score:
    the quality; the paper's, complexity x quality of two tuned 7B models, is replaced by what is named. Source: arXiv 2312.15685.
    """

    name: ClassVar[str] = "deita"
    paper: ClassVar[str] = "2312.15685"
    cost: ClassVar[Cost] = "forward"

    quality: str = Field("tokens", description=DESCRIPTION)
    threshold: float = Field(0.9, ge=-1, le=1, description="cosine above which a row is too like one taken before")
    pooling: Pooling = Field("last", description=POOLING)
    centre: bool = Field(False, description="take the pool's mean vector off first; states of a model lie close together without")

    @model_validator(mode="after")
    def _has_a_quality(self) -> Self:
        quality_readers(self.quality)  # which says when there is no such method, or it can give none
        return self

    def readers(self) -> tuple[ModelSpec, ...]:
        """Those of the method that gives quality."""
        return quality_readers(self.quality)

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """A vector of each row, and what its quality needs."""
        return [pooled(data, data.pool, self.pooling), *quality_requests(self.quality, data, seen)]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Rated:
        """Vectors [n, d] and qualities [n]."""
        vectors: RowVector = seen[pooled(data, data.pool, self.pooling)]
        if self.centre and not vectors.is_null.all():
            mean = vectors.values[~vectors.is_null].mean(axis=0, dtype=np.float64)
            vectors = RowVector((vectors.values - mean).astype(np.float32), vectors.reasons)
        return Rated(comparable(vectors, COSINE), quality(self.quality, data, seen, rng))

    def score(self, signal: Rated) -> RowScore:
        """The quality [n]; null where a row has no vector."""
        return RowScore(np.where(signal.vectors.is_null, np.nan, signal.quality.values), signal.reasons)

    def scored_by(self) -> str | None:
        """The quality."""
        return quality_is(self.quality)

    def choose(self, signal: Rated, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """By falling quality, what is too like a pick left out; short where too few rows lie apart."""
        return diversity_filter(signal.vectors.values, self.score(signal).values, limit, threshold=self.threshold)[0]
