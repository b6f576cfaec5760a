"""Determinantal point process: rows that are good and unlike each other."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from curate.embedding.similarity import check_gamma, comparable, similarity_of
from curate.errors import InputError
from curate.lm.models import ModelSpec
from curate.method import Cost, Data, Method
from curate.registry import make_method
from curate.requests import Embed, Observe, Request
from curate.selectors.dpp import dpp
from curate.selectors.similarity import Similarity, SimilarityName
from curate.selectors.window import mean_rank
from curate.signals import RowScore, RowVector

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit
    from curate.selectors.picks import Picks

TOKENS, NONE = "tokens", "none"


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
    it do not span. Score: the quality q. Source: arXiv 2402.02318, whose features are gradients.
    """

    name: ClassVar[str] = "dpp"
    paper: ClassVar[str] = "2402.02318"
    cost: ClassVar[Cost] = "forward"

    features: Literal["embedding"] = Field("embedding", description="what rows are compared by")
    similarity: SimilarityName = Field("sphere", description="of two rows; cosine has no more directions than dimensions")
    gamma: float | None = Field(None, gt=0, description="of sphere and rbf; 10 for hidden states, 1 for other embeddings")
    theta: float = Field(0.1, ge=0, le=1, description="weight of quality; 0 is diversity alone, 1 quality alone")
    quality: str | None = Field(TOKENS, description="tokens (of the replies), none, or a method: its ranks, best near 1")

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        check_gamma(self.similarity, self.gamma)
        self._judge()
        return self

    def _judge(self) -> Method | None:
        """The method whose ranks are the quality."""
        return None if self.quality in (None, TOKENS, NONE) else make_method(str(self.quality))

    def _vector(self, data: Data) -> Embed:
        return Embed(data.embedder, data.pool)

    def _length(self, data: Data) -> Observe:
        return Observe(data.model, data.pool, "response_tokens")

    def readers(self) -> tuple[ModelSpec, ...]:
        """Those of the method that gives quality."""
        judge = self._judge()
        return judge.readers() if judge else ()

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """A vector of each row, and what its quality needs."""
        judge = self._judge()
        rated = judge.requests(data, seen) if judge else [self._length(data)] if self.quality == TOKENS else []
        return [self._vector(data), *rated]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Rated:
        """Vectors [n, d] and qualities [n] above 0: reply tokens, or ranks in (0, 1]."""
        given: RowVector = seen[self._vector(data)]
        similarity = similarity_of(self.similarity, self.gamma, data.embedder, given)
        return Rated(comparable(given, similarity), self._quality(data, seen, rng), similarity)

    def _quality(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> RowScore | None:
        judge = self._judge()
        if judge:
            found = judge.signal(data, seen, rng)
            return self._ranks(judge.preference(found), judge.score(found))
        if self.quality != TOKENS:
            return None
        tokens: RowScore = seen[self._length(data)]
        return tokens.null(tokens.values == 0, "no reply tokens")

    def _ranks(self, preference: np.ndarray, scores: RowScore) -> RowScore:
        """A method's preference as the share of rows that a row is at least as good as; equal rows share their mean rank."""
        there = ~np.isnan(preference)
        if not there.any():
            raise InputError(f"{self.name}: no row has a quality by {self.quality}: {scores.reasons[0]}")
        ranks = np.full(len(preference), np.nan)
        ranks[there] = (mean_rank(preference[there]) + 1) / there.sum()
        return RowScore.of(ranks, scores)

    def score(self, signal: Rated) -> RowScore:
        """The quality [n]; null where there is none."""
        if signal.quality is None:
            return RowScore.none(signal, f"{self.name} chooses sets of rows")
        return RowScore.of(np.where(signal.vectors.is_null, np.nan, signal.quality.values), _nulls(signal.reasons))

    def choose(self, signal: Rated, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """Greedy MAP; rows that the picks span fill what is left of the budget, and are said."""
        quality = None if signal.quality is None or self.theta == 0 else signal.quality.values
        null = signal.reasons != None  # noqa: E711 (elementwise)
        return dpp(signal.vectors.values, limit, quality=quality, theta=self.theta, similarity=signal.similarity, null=null)


def _nulls(reasons: np.ndarray) -> RowScore:
    """A score that is null where there is a reason."""
    return RowScore(np.where(reasons == None, 0.0, np.nan), reasons)  # noqa: E711 (elementwise)
