"""Information gain filtration: what one step on a row does to a target's perplexity, learned from a few rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from curate.embedding.similarity import comparable
from curate.method import Cost, Data, Method
from curate.requests import Embed, Fit, Model, Observe, Request, Subset
from curate.signals import RowScore
from curate.training.config import TrainConfig
from scorers.aimed import COSINE, target_of


@dataclass(frozen=True)
class Gains(RowScore):
    """Predicted gains [n] in standard deviations; explained: R squared on rows left out; measured: how many rows."""

    explained: float
    measured: int


class IGF(Method):
    """Keep the rows of which one training step is predicted to lower a target's perplexity most.

    The step is really taken for a few random rows, and what it brings is regressed on the rows' embeddings. Score: the
    prediction, in standard deviations of what was measured. For small pools, to judge cheaper scores by. Source: arXiv
    2005.00175.
    """

    name: ClassVar[str] = "igf"
    paper: ClassVar[str] = "2005.00175"
    cost: ClassVar[Cost] = "training"

    examples: int = Field(50, ge=4, description="rows that a step is really taken on, each by itself")
    learning_rate: float | None = Field(None, gt=0, description="of the step; by default as in the final run")
    ridge: float = Field(1.0, gt=0, description="of the regression on unit vectors")

    def _sample(self, data: Data) -> np.ndarray:
        drawn = np.random.default_rng(data.seed).permutation(data.pool.size)[: self.examples]
        return np.sort(drawn)

    def _recipe(self, data: Data) -> TrainConfig:
        kept = data.recipe.every_token().model_dump(exclude={"epochs", "tokens", "steps", "seed"})
        kept |= {"schedule": "constant", "warmup_ratio": 0.0}
        if self.learning_rate is not None:
            kept["learning_rate"] = self.learning_rate
        return TrainConfig(**kept, steps=1, seed=data.seed)

    def _objective(self, data: Data, model: Model) -> tuple[Observe, Observe]:
        target = target_of(self, data)
        return Observe(model, target, "sum_loss"), Observe(model, target, "response_tokens")

    def _fits(self, data: Data) -> list[Fit]:
        recipe = self._recipe(data)
        return [Fit(data.model, Subset(data.pool, [row]), recipe) for row in self._sample(data).tolist()]

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """Vectors of the pool, and the target's losses before and after a step on each row of the sample."""
        losses = [self._objective(data, fit)[0] for fit in self._fits(data)]
        return [Embed(data.embedder, data.pool), *self._objective(data, data.model), *losses]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Gains:
        """Predicted gains [n], in standard deviations of those measured."""
        vectors = comparable(seen[Embed(data.embedder, data.pool)], COSINE)
        before, length = (seen[request] for request in self._objective(data, data.model))
        after = [seen[self._objective(data, fit)[0]] for fit in self._fits(data)]
        gains = _perplexity(before, length) - np.array([_perplexity(loss, length) for loss in after])
        there, values = np.flatnonzero(~vectors.is_null), np.full(len(vectors), np.nan)
        if not len(there):
            return Gains(values, vectors.reasons, 0.0, 0)
        usable = np.isfinite(gains) & ~vectors.is_null[self._sample(data)]
        rows, found = self._sample(data)[usable], gains[usable]
        z = (found - found.mean()) / (found.std() or 1.0) if len(found) else found
        units = COSINE.features(vectors.values)
        predicted, explained = learned(units[rows], z, units[there], self.ridge)
        values[there] = predicted
        return Gains(values, vectors.reasons, explained, len(rows))

    def remarks(self, data: Data, signal: Gains) -> list[str]:
        """How well gains of rows left out are predicted."""
        found = f"left out, they are predicted with an R squared of {signal.explained:.2f}"
        return [f"gains of {signal.measured:,} rows were measured; {found}"]


def learned(features: np.ndarray, z: np.ndarray, others: np.ndarray, ridge: float) -> tuple[np.ndarray, float]:
    """(float64 [p] predictions for others [p, d], R squared of each z [s] predicted from the others) of a ridge regression.

    In its dual form, so that s x s is all that is solved. Zeros where fewer than two values were measured.
    """
    if len(z) < 2:
        return np.zeros(len(others)), 0.0
    centre = features.mean(axis=0)
    x = features - centre
    kernel = x @ x.T
    smoother = kernel @ np.linalg.inv(kernel + ridge * np.eye(len(z)))
    weights = x.T @ np.linalg.solve(kernel + ridge * np.eye(len(z)), z - z.mean())
    off = (z - z.mean() - smoother @ (z - z.mean())) / np.maximum(1 - 1 / len(z) - np.diag(smoother), 1e-9)
    total = float(((z - z.mean()) ** 2).sum())
    return z.mean() + (others - centre) @ weights, 1 - float((off**2).sum()) / total if total > 0 else 0.0


def _perplexity(loss: RowScore, length: RowScore) -> float:
    known = ~loss.is_null
    return float(np.exp(loss.values[known].sum() / max(1.0, length.values[known].sum()))) if known.any() else float("nan")
