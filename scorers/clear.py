"""CLEAR: rows of whose replies the model is confident, and better replies for the others."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from curate.method import Cost, Data, Method
from curate.pool import Rewrite
from curate.requests import Fit, Generate, Replies, Request, Subset
from curate.signals import RowScore, RowVector
from curate.wording import counted
from scorers.rewards import rewards
from scorers.second_opinion import better, chance, known, right, worth_saying

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit
    from curate.selectors.picks import Picks

CORRECTED, TRUSTED, DOUBTED = "corrected", "trusted", "doubted"


@dataclass(frozen=True)
class Confident(RowScore):
    """Confidence [n] in each row's reply; standing: corrected, trusted or doubted; replies: the new one of the first."""

    standing: list[str]
    replies: list[str | None]


class CLEAR(Method):
    """Keep the rows of whose replies the model is confident.

    Score: beta x consistency + (1 - beta) x the chance of a yes to whether the reply is right, from 0 to 1. Consistency is how
    near the reply comes to several that the model draws: alpha x mean F1 of their words + (1 - alpha) x the share that is the
    same; the paper has a model of entailment where F1 stands. With `rewrite`, a model tuned on the trusted half replies to all
    rows, and replies that the plain model judges better with enough confidence replace the rows' own. Source: arXiv 2403.12776.
    """

    name: ClassVar[str] = "clear"
    paper: ClassVar[str] = "2403.12776"
    cost: ClassVar[Cost] = "generation"

    rewrite: bool = Field(False, description="replace replies by better ones of a model tuned on the trusted rows")
    samples: int = Field(5, ge=1, description="replies that are drawn for each row")
    temperature: float = Field(1.0, gt=0, description="of these replies")
    alpha: float = Field(0.8, ge=0, le=1, description="weight of likeness against sameness")
    beta: float = Field(0.7, ge=0, le=1, description="weight of consistency against the model's own judgement")
    trusted: float = Field(0.5, gt=0, lt=1, description="share of the rows, of the highest confidence, that is trusted")
    confidence: float = Field(0.8, ge=0.5, lt=1, description="above which a new reply replaces the row's own")
    epochs: float = Field(1.0, gt=0, description="of the training on the trusted rows")
    max_new_tokens: int = Field(256, ge=1, description="of a reply")

    def rewrites(self) -> bool:
        """With `rewrite`."""
        return self.rewrite

    def _drawn(self, data: Data) -> list[Generate]:
        seeds = range(data.seed * self.samples, (data.seed + 1) * self.samples)
        return [Generate(data.model, data.pool, self.max_new_tokens, self.temperature, seed) for seed in seeds]

    def _confidence(self, data: Data, seen: Mapping[Request, Any]) -> RowScore:
        """float64 [n], 0 to 1."""
        drawn: list[Replies] = [seen[request] for request in self._drawn(data)]
        judged: RowVector = seen[right(data.model, data.pool)]
        near, same = (
            np.mean([rewards(one.texts, one.own, metric, "text") for one in drawn], axis=0) for metric in ("f1", "exact_match")
        )
        consistent = self.alpha * near + (1 - self.alpha) * same
        parents = [known(reasons) for reasons in (*(one.reasons for one in drawn), judged.reasons)]
        return RowScore.of(self.beta * consistent + (1 - self.beta) * chance(judged.values[:, 0]), *parents)

    def _trust(self, score: RowScore) -> np.ndarray:
        """int64, ascending: the rows of the highest confidence, ties to the smaller row id."""
        there = np.flatnonzero(~score.is_null)
        order = there[np.argsort(-score.values[there], kind="stable")]
        return np.sort(order[: int(np.ceil(self.trusted * len(there)))])

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """Drawn replies and the model's judgement; to rewrite, a tuned model's replies and what the plain one thinks of them."""
        first: list[Request] = [*self._drawn(data), right(data.model, data.pool)]
        if not self.rewrite or any(request not in seen for request in first):
            return first
        trusted = self._trust(self._confidence(data, seen))
        if not len(trusted):
            return first
        tuned = self._tuned(data, trusted)
        return [*first, tuned, *([self._second(data, seen[tuned])] if tuned in seen else [])]

    def _tuned(self, data: Data, trusted: np.ndarray) -> Generate:
        fit = Fit(data.model, Subset(data.pool, trusted), data.recipe.trained_for(self.epochs, data.seed))
        return Generate(fit, data.pool, self.max_new_tokens)

    def _second(self, data: Data, found: Replies) -> Any:
        return right(data.model, data.pool, [worth_saying(text) for text in found.texts])

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Confident:
        """Confidence in the rows' own replies [n]."""
        score = self._confidence(data, seen)
        trusted = self._trust(score)
        standing = [DOUBTED] * len(score)
        for row in trusted.tolist():
            standing[row] = TRUSTED
        replies: list[str | None] = [None] * len(score)
        if self.rewrite and len(trusted):
            found: Replies = seen[self._tuned(data, trusted)]
            sure = better(seen[self._second(data, found)], seen[right(data.model, data.pool)])
            for row in np.flatnonzero((sure > self.confidence) & ~score.is_null).tolist():
                standing[row], replies[row] = CORRECTED, worth_saying(found.texts[row])
        return Confident(score.values, score.reasons, standing, replies)

    def remarks(self, data: Data, signal: Any) -> list[str]:
        """What confidence is not; and how many rows were corrected, kept and dropped."""
        said = ["confidence is not truth: what the model wrongly believes it is confident of, and rare knowledge it doubts"]
        if self.rewrite:
            there = np.flatnonzero(~signal.is_null).tolist()
            corrected, kept = (sum(signal.standing[i] == name for i in there) for name in (CORRECTED, TRUSTED))
            said.append(f"{counted(corrected)} corrected, {kept:,} trusted as they are; doubted rows come last")
        return said

    def choose(self, signal: Confident, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """The highest confidence first, `stratum` the standing; with `rewrite` doubted rows after all others."""
        from curate.selectors.top_k import top_k

        if not self.rewrite:
            picks = super().choose(signal, table, limit, rng)
            return replace(picks, stratum=[signal.standing[i] for i in picks.index.tolist()])
        doubted = np.array([one == DOUBTED for one in signal.standing])
        picks = top_k(signal.values - doubted, limit)
        index = picks.index.tolist()
        reason = [f"{signal.standing[i]}; confidence in its own reply {signal.values[i]:.3g}" for i in index]
        new = [Rewrite(reply, CORRECTED) if (reply := signal.replies[i]) else None for i in index]
        return replace(
            picks, gain=signal.values[index], stratum=[signal.standing[i] for i in index], reason=reason, rewritten=new
        )
