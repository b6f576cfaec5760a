"""IterSelectTune, the model itself as judge: rows like those whose replies it does not come near."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from curate.method import Cost, Data, Method
from curate.requests import Embed, Generate, Observe, Request, Subset
from curate.signals import RowScore
from scorers.clustered import clustered


@dataclass(frozen=True)
class Judged(RowScore):
    """Scores [n]; judged: rows that the model replied to; hard: those of them that count as hard."""

    judged: int
    hard: int


class IterSelectTune(Method):
    """Keep the rows like those on which the model falls short of the row's own reply.

    The model replies to a diverse sample; a classifier on embeddings learns where it falls short. Score: alpha x the classifier's
    chance + (1 - alpha) x the likeness to the hard rows, in [0, 1]. The paper has GPT-4 judge and repeats; here the sample is
    judged once, by the model's losses or by overlap. Source: arXiv 2410.13464.
    """

    name: ClassVar[str] = "iterselecttune"
    paper: ClassVar[str] = "2410.13464"
    cost: ClassVar[Cost] = "forward"

    judged: int = Field(100, ge=2, description="rows that the model replies to, one near the middle of each cluster")
    by: Literal["loss", "overlap"] = Field("loss", description="what a shortfall is: of losses, or of the replies' common tokens")
    hard: float = Field(0.5, gt=0, lt=1, description="share of the judged rows, of the largest shortfalls, that counts as hard")
    alpha: float = Field(0.5, ge=0, le=1, description="weight of the classifier; not given in the paper")
    likeness: Literal["max", "mean"] = Field("max", description="to the hard rows: the largest cosine, or the mean")
    max_new_tokens: int = Field(128, ge=1, description="of a reply")

    def _vectors(self, data: Data) -> Embed:
        return Embed(data.embedder, data.pool)

    def _sample(self, data: Data, vectors: Any) -> Subset | None:
        """The row nearest to the middle of each of `judged` clusters; None where no row has a vector."""
        found = clustered(vectors, self.judged, np.random.default_rng(data.seed))
        if not len(found.rows):
            return None
        order = np.lexsort((found.distances, found.clusters))
        first = order[np.flatnonzero(np.diff(found.clusters[order], prepend=-1))]
        return Subset(data.pool, np.sort(found.rows[first]))

    def _judging(self, data: Data, sample: Subset) -> tuple[Generate, Observe]:
        return Generate(data.model, sample, self.max_new_tokens), Observe(data.model, sample, "mean_loss")

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """A vector of each row, then the model's replies to a sample and the losses of the sample's own."""
        vectors = self._vectors(data)
        if vectors not in seen:
            return [vectors]
        sample = self._sample(data, seen[vectors])
        return [vectors, *(self._judging(data, sample) if sample else ())]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Judged:
        """alpha x chance + (1 - alpha) x likeness [n]."""
        vectors = seen[self._vectors(data)]
        found, sample = clustered(vectors, 1, np.random.default_rng(data.seed)), self._sample(data, vectors)
        if sample is None:
            none = found.spread(np.zeros(0))
            return Judged(none.values, none.reasons, 0, 0)
        replies, loss = (seen[request] for request in self._judging(data, sample))
        short = loss.values - replies.mean_loss if self.by == "loss" else 1 - replies.overlap
        known = np.flatnonzero(np.isfinite(short))
        order = known[np.argsort(-short[known], kind="stable")]
        hard = order[: max(1, round(self.hard * len(order)))]
        where = np.searchsorted(found.rows, sample.index)
        if not len(hard) or len(hard) == len(order):
            chance, near = np.full(len(found.rows), 0.5), np.zeros(len(found.rows))
        else:
            label = np.isin(order, hard)
            chance = _chance(found.units[where[order]], label, found.units)
            cosines = found.units @ found.units[where[hard]].T
            near = (1 + (cosines.max(axis=1) if self.likeness == "max" else cosines.mean(axis=1))) / 2
        score = found.spread(np.clip(self.alpha * chance + (1 - self.alpha) * near, 0, 1))
        return Judged(score.values, score.reasons, len(order), len(hard))

    def remarks(self, data: Data, signal: Judged) -> list[str]:
        """How many rows were judged, and that too few tell nothing."""
        if signal.judged < 2:
            return [
                f"the model's replies to {signal.judged} rows could be judged: too few to learn from, so all scores are alike"
            ]
        return [f"the model replied to {signal.judged:,} rows, {signal.hard:,} of which count as hard"]


def _chance(known: np.ndarray, hard: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """float64 [n]: the chance that each row is hard, by logistic regression on centred unit vectors."""
    from sklearn.linear_model import LogisticRegression

    centre = known.mean(axis=0)
    found: np.ndarray = LogisticRegression(max_iter=1000).fit(known - centre, hard).predict_proba(rows - centre)[:, 1]
    return found
