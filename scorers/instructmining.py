"""InstructMining: what a training's loss would be, predicted from indicators of its rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from curate.embedding.similarity import comparable
from curate.lm.models import ModelSpec
from curate.method import Cost, Data, Method
from curate.neighbours import nearest, unit_vectors
from curate.quality import COLUMN, TOKENS, quality, quality_readers, quality_requests
from curate.registry import listed
from curate.requests import Embed, Fit, Observe, Request, Subset
from curate.signals import RowScore
from scorers.aimed import COSINE, target_of

NEIGHBOUR = 6  # whose distance is an indicator
WEAK = 0.3  # share of the variance from which on a regression says something


@dataclass(frozen=True)
class Predicted(RowScore):
    """Predicted logarithms of losses [n]; explained: R squared of subsets that were left out; weights by indicator."""

    explained: float
    weights: dict[str, float]


class InstructMining(Method):
    """Keep the rows of which a training is predicted to have the lowest loss on a target.

    Random parts of the pool are trained on, and the logarithm of the target's loss is regressed on the parts' mean indicators.
    Score: the prediction for a part of rows like this one; lower is kept first. The paper's own coefficients hold for its reward
    model and pool and are not used. Source: arXiv 2307.06290.
    """

    name: ClassVar[str] = "instructmining"
    paper: ClassVar[str] = "2307.06290"
    cost: ClassVar[Cost] = "training"
    larger_is_better: ClassVar[bool] = False

    indicators: str = Field(
        "tokens,perplexity:window=low", description=f"qualities with commas: tokens, {COLUMN}NAME, or methods by name"
    )
    neighbours: bool = Field(True, description=f"the distance to the {NEIGHBOUR}th nearest row is an indicator too")
    subsets: int = Field(30, ge=4, description="trainings that the regression is fitted on; 129 in the paper")
    rows: int = Field(1000, ge=1, description="of each training, at most a quarter of the pool")
    epochs: float = Field(1.0, gt=0, description="of each training")
    ridge: float = Field(1.0, gt=0, description="of the regression, on standardised indicators")

    @model_validator(mode="after")
    def _has_indicators(self) -> Self:
        for name in self._names():
            quality_readers(name)  # which says when there is no such method, or it can give none
        return self

    def _names(self) -> list[str]:
        return listed(self.indicators, others=(TOKENS, COLUMN.rstrip(":")))

    def readers(self) -> tuple[ModelSpec, ...]:
        """Those of the methods that give indicators."""
        return tuple(dict.fromkeys(reader for name in self._names() for reader in quality_readers(name)))

    def parts(self, data: Data) -> list[Subset]:
        """The random parts of the pool that are trained on."""
        rng = np.random.default_rng(data.seed)
        size = max(1, min(self.rows, data.pool.size // 4))
        return [Subset(data.pool, np.sort(rng.permutation(data.pool.size)[:size])) for _ in range(self.subsets)]

    def _losses(self, data: Data) -> list[Observe]:
        recipe = data.recipe.every_token().trained_for(self.epochs, data.seed)
        target = target_of(self, data)
        return [Observe(Fit(data.model, part, recipe), target, "mean_loss") for part in self.parts(data)]

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """What the indicators need, and the target's losses after each training."""
        vectors = [Embed(data.embedder, data.pool)] if self.neighbours else []
        return [*vectors, *(r for name in self._names() for r in quality_requests(name, data, seen)), *self._losses(data)]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Predicted:
        """Predicted logarithms of the target's loss [n]."""
        columns = {name: quality(name, data, seen, rng) for name in self._names()}
        if self.neighbours:
            columns["neighbours"] = _sixth(seen[Embed(data.embedder, data.pool)])
        known = RowScore.of(np.zeros(data.pool.size), *columns.values())
        table = np.stack([column.values for column in columns.values()], axis=1)
        there, values = ~known.is_null, np.full(data.pool.size, np.nan)
        if not there.any():
            return Predicted(values, known.reasons, 0.0, {})
        spread = table[there].std(axis=0)
        table = np.where(there[:, None], (table - table[there].mean(axis=0)) / np.where(spread > 0, spread, 1.0), np.nan)
        means, losses = [], []
        for part, request in zip(self.parts(data), self._losses(data), strict=True):
            inside, loss = table[part.index][there[part.index]], seen[request].values
            if len(inside) and not np.isnan(loss).all():
                means.append(inside.mean(axis=0))
                losses.append(np.log(max(float(np.nanmean(loss)), 1e-12)))
        weights, middle, explained = regressed(np.array(means), np.array(losses), self.ridge)
        values[there] = middle + table[there] @ weights
        return Predicted(values, known.reasons, explained, dict(zip(columns, weights.tolist())))

    def remarks(self, data: Data, signal: Predicted) -> list[str]:
        """How well the regression predicts trainings that it has not seen, and its weights."""
        weights = ", ".join(f"{name} {weight:+.3g}" for name, weight in signal.weights.items())
        said = f"left-out trainings are predicted with an R squared of {signal.explained:.2f}; weights: {weights}"
        return [said if signal.explained >= WEAK else f"{said}. Below {WEAK} the scores say next to nothing: do not use them"]


def regressed(means: np.ndarray, losses: np.ndarray, ridge: float) -> tuple[np.ndarray, float, float]:
    """(float64 [k] weights, the constant, R squared of each loss predicted from the others) of a ridge regression.

    means  float64 [s, k], mean indicators of s trainings. losses: float64 [s]. The means are scaled to deviation 1 for the ridge,
    so that it is the same for parts of any size. Zero weights where there is nothing to learn from.
    """
    if len(losses) < 2:
        return np.zeros(means.shape[1] if means.ndim == 2 else 0), float(losses.mean()) if len(losses) else 0.0, 0.0
    centre, spread = means.mean(axis=0), means.std(axis=0)
    x = (means - centre) / np.where(spread > 1e-12, spread, np.inf)
    inverse = np.linalg.inv(x.T @ x + ridge * np.eye(x.shape[1]))
    beta = inverse @ x.T @ (losses - losses.mean())
    leverage = 1 / len(losses) + np.einsum("sk,kl,sl->s", x, inverse, x)
    off = (losses - losses.mean() - x @ beta) / np.maximum(1 - leverage, 1e-9)
    total = float(((losses - losses.mean()) ** 2).sum())
    explained = 1 - float((off**2).sum()) / total if total > 0 else 0.0
    weights = beta / np.where(spread > 1e-12, spread, np.inf)
    return weights, float(losses.mean() - centre @ weights), explained


def _sixth(vectors: Any) -> RowScore:
    """1 - cosine [n] with the 6th nearest other row, or the farthest where there are fewer."""
    given, units = comparable(vectors, COSINE), unit_vectors(vectors)
    pairs = nearest(vectors, vectors, NEIGHBOUR, same=True)
    last = np.flatnonzero(np.diff(pairs[:, 0], append=-1) != 0) if len(pairs) else np.empty(0, dtype=np.int64)
    values = np.where(given.is_null, np.nan, 0.0)
    i, j = pairs[last, 0], pairs[last, 1]
    values[i] = 1 - np.einsum("pd,pd->p", units[i], units[j], dtype=np.float64)
    return RowScore(values, given.reasons)
