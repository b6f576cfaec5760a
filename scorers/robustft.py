"""RobustFT: rows with whose replies the model agrees, and those that it relabels with the help of these."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from curate.method import Cost, Data, Method
from curate.pool import Rewrite
from curate.requests import Ask, Embed, Examples, Generate, Replies, Request, Subset
from curate.signals import RowScore, RowVector
from curate.wording import counted
from scorers.clustered import clustered
from scorers.rewards import EXTRACTOR, METRIC, rewards
from scorers.second_opinion import better, known, right, worth_saying

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit
    from curate.selectors.picks import Picks

REASON = "Think step by step. Then write your final answer behind the word 'Answer:'."
CLEAN, RELABELLED, UNSURE = "clean", "relabelled", "unsure"
_FINAL = re.compile(r".*\banswer\s*:", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Checked(RowScore):
    """Score [n]; standing: clean, relabelled or unsure of each row; replies: the new one of those that are relabelled."""

    standing: list[str]
    replies: list[str | None]


class RobustFT(Method):
    """Keep the rows whose replies the model comes to as well, directly and by reasoning.

    Score: mean agreement of its two answers with the row's reply, by a metric, from 0 to 1. With `rewrite`, the model answers the
    other rows again behind the nearest rows that it agrees with, and of those answers that it judges better than the row's own
    reply the half that it is surest of replace it; then 1 is clean, a relabelled row has the likelihood per token of its new
    reply, and the others less than 0. Source: arXiv 2412.14922 and its authors' code.
    """

    name: ClassVar[str] = "robustft"
    paper: ClassVar[str] = "2412.14922"
    cost: ClassVar[Cost] = "generation"

    rewrite: bool = Field(False, description="replace replies that the model does not agree with by better ones")
    metric: str = Field("exact_match", description=METRIC)
    extractor: str = Field("text", description=EXTRACTOR)
    agreement: float = Field(1.0, gt=0, le=1, description="from which value of the metric on two replies agree")
    neighbours: int = Field(3, ge=1, description="clean rows that stand in front of a question that is answered again")
    share: float = Field(0.5, gt=0, le=1, description="of the better answers, those of the lowest entropy, that replace replies")
    temperature: float = Field(1.0, ge=0, description="of the answers behind clean rows; 0 is greedy")
    max_new_tokens: int = Field(256, ge=1, description="of an answer")

    def rewrites(self) -> bool:
        """With `rewrite`."""
        return self.rewrite

    def _first(self, data: Data) -> list[Generate]:
        plain = Generate(data.model, data.pool, self.max_new_tokens)
        return [plain, replace(plain, ask=Ask(behind=REASON))]

    def _agreement(self, data: Data, seen: Mapping[Request, Any]) -> tuple[RowScore, np.ndarray]:
        """(mean agreement [n], bool [n]: both answers agree)."""
        direct, reasoned = (seen[request] for request in self._first(data))
        texts = direct.texts, [None if text is None else _FINAL.sub("", text, count=1).strip() for text in reasoned.texts]
        each = np.array([rewards(said, direct.own, self.metric, self.extractor) for said in texts])
        score = RowScore.of(each.mean(axis=0), known(direct.reasons), known(reasoned.reasons))
        return score, np.all(each >= self.agreement, axis=0)

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """Two answers to each row; to rewrite, vectors of the questions, answers behind clean rows, and their judgement."""
        first = self._first(data)
        if not self.rewrite:
            return [*first]
        asked: list[Request] = [*first, Embed(data.embedder, data.pool, "instruction")]
        if any(request not in seen for request in asked):
            return asked
        again = self._again(data, seen)
        if again is None or again not in seen:
            return [*asked, *([again] if again else [])]
        return [*asked, again, *self._judged(data, again, seen[again])]

    def _again(self, data: Data, seen: Mapping[Request, Any]) -> Generate | None:
        """The rows that are not clean behind the nearest that are; None where there are none of either."""
        score, agree = self._agreement(data, seen)
        vectors: RowVector = seen[Embed(data.embedder, data.pool, "instruction")]
        found = clustered(vectors, 1, np.random.default_rng(data.seed))
        clean, noisy = (np.flatnonzero(which[found.rows]) for which in (agree & ~score.is_null, ~agree & ~score.is_null))
        if not len(clean) or not len(noisy):
            return None
        near = np.argsort(-(found.units[noisy] @ found.units[clean].T).round(6), axis=1, kind="stable")[:, : self.neighbours]
        shown = Examples(data.pool, found.rows[clean][near[:, ::-1]])  # the nearest last, next to the question
        rows = Subset(data.pool, found.rows[noisy])
        return Generate(data.model, rows, self.max_new_tokens, self.temperature, data.seed, Ask(examples=shown))

    def _judged(self, data: Data, again: Generate, found: Replies) -> list[Any]:
        return [right(data.model, again.rows, [worth_saying(text) for text in found.texts]), right(data.model, again.rows)]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Checked:
        """Mean agreement [n]; with `rewrite` how sure the reply is that a row then has."""
        score, agree = self._agreement(data, seen)
        standing = [CLEAN if one else UNSURE for one in agree]
        replies: list[str | None] = [None] * len(score)
        if not self.rewrite:
            return Checked(score.values, score.reasons, standing, replies)
        values = np.where(agree, 1.0, score.values - 1)
        if again := self._again(data, seen):
            found: Replies = seen[again]
            new, own = (seen[request] for request in self._judged(data, again, found))
            accepted = np.flatnonzero((better(new, own) > 0.5) & np.isfinite(found.mean_loss))
            order = accepted[np.argsort(found.mean_loss[accepted], kind="stable")]
            for at in order[: int(np.ceil(self.share * len(order)))].tolist():
                row = int(again.rows.index[at])  # type: ignore[union-attr]
                values[row], standing[row], replies[row] = np.exp(-found.mean_loss[at]), RELABELLED, worth_saying(found.texts[at])
        return Checked(values, score.reasons, standing, replies)

    def remarks(self, data: Data, signal: Any) -> list[str]:
        """How many rows are clean, and how many were relabelled."""
        there = np.flatnonzero(~signal.is_null).tolist()
        count = {name: sum(signal.standing[i] == name for i in there) for name in (CLEAN, RELABELLED)}
        said = [f"the model agrees with {count[CLEAN]:,} of {len(there):,} rows by {self.metric}; such rows tend to be easy"]
        if self.rewrite:
            said.append(f"{counted(count[RELABELLED])} relabelled; the others that it does not agree with come last")
        return said

    def choose(self, signal: Checked, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """The best scores, `stratum` clean, relabelled or unsure; with `rewrite` relabelled rows have their new replies."""
        picks = super().choose(signal, table, limit, rng)
        index = picks.index.tolist()
        new = [Rewrite(reply, "relabelled") if (reply := signal.replies[i]) else None for i in index] if self.rewrite else None
        return replace(picks, stratum=[signal.standing[i] for i in index], rewritten=new)
