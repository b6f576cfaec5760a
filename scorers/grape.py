"""GRAPE: of several replies to one prompt, the one that comes most naturally to the model."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from curate.method import Cost, Data, Method
from curate.requests import Observe, Prompts, Request
from curate.selectors.in_turn import in_turn
from curate.signals import RowScore
from curate.wording import counted

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit
    from curate.selectors.picks import Picks


@dataclass(frozen=True)
class Candidates(RowScore):
    """exp(-loss) of each row. prompts: a key per row; loss, tokens: float64 [n], of its reply."""

    prompts: list[str]
    loss: np.ndarray
    tokens: np.ndarray

    def groups(self) -> dict[str, list[int]]:
        """Positions of the rows with a score, by prompt."""
        found: dict[str, list[int]] = {}
        for i in np.flatnonzero(~self.is_null).tolist():
            found.setdefault(self.prompts[i], []).append(i)
        return found


class GRAPE(Method):
    """Keep of the replies to one prompt the one that is likeliest under the model.

    Score: the likelihood of the reply per token, exp of minus its mean loss, from 0 to 1; only replies to the same prompt are
    compared by it. Which prompts a budget takes is drawn at random. A pool with one reply to each prompt leaves nothing to
    choose. Source: arXiv 2502.04194.
    """

    name: ClassVar[str] = "grape"
    paper: ClassVar[str] = "2502.04194"
    cost: ClassVar[Cost] = "forward"
    by_chance: ClassVar[bool] = True

    per_prompt: int = Field(1, ge=1, description="replies that are kept of a prompt at most; a second only after a first of all")
    min_length: float = Field(0.5, ge=0, description="replies shorter than this part of their prompt's median come last of it")
    margin: float = Field(
        0.0, ge=0, description="nats per token; of replies as close as that to the likeliest the longest is taken"
    )

    def _loss(self, data: Data) -> Observe:
        return Observe(data.model, data.pool, "mean_loss")

    def _length(self, data: Data) -> Observe:
        return Observe(data.model, data.pool, "response_tokens")

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """The mean loss of each row, and which rows have the same prompt."""
        return [self._loss(data), self._length(data), Prompts(data.pool)]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Candidates:
        """Likelihood per token [n], by prompt."""
        loss: RowScore = seen[self._loss(data)]
        score = RowScore.of(np.exp(-loss.values), loss)
        return Candidates(
            score.values, score.reasons, seen[Prompts(data.pool)].values, loss.values, seen[self._length(data)].values
        )

    def remarks(self, data: Data, signal: Any) -> list[str]:
        """How many prompts have more than one reply."""
        sizes = [len(rows) for rows in signal.groups().values()]
        several = sum(size > 1 for size in sizes)
        if not several:
            return ["no prompt has two replies, so there is nothing to choose from and the picks are random rows"]
        have = "has" if several == 1 else "have"
        return [f"{several:,} of {counted(len(sizes), 'prompt')} {have} more than one reply"]

    def choose(self, signal: Candidates, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """The best reply of each prompt, prompts in random order, and then the second where more are kept."""
        groups = signal.groups()
        ranked = {prompt: self._ranked(signal, rows) for prompt, rows in groups.items()}
        prompts = sorted(ranked)
        turns = [prompts[i] for i in rng.permutation(len(prompts)).tolist()]
        order = [row for prompt in turns for row in ranked[prompt]]
        picks = in_turn(signal.prompts, order, limit, turns=turns, rounds=self.per_prompt, name="prompt")
        reason = [_reason(signal, ranked[signal.prompts[i]], i) for i in picks.index.tolist()]
        return replace(picks, gain=signal.values[picks.index], reason=reason)

    def _ranked(self, signal: Candidates, rows: list[int]) -> list[int]:
        """The rows of a prompt, best first; ties to the smaller row id."""
        index = np.array(rows)
        short = signal.tokens[index] < self.min_length * np.median(signal.tokens[index])
        best = signal.loss[index][~short].min()
        near = ~short & (signal.loss[index] <= best + self.margin)
        longest = np.where(near & (self.margin > 0), -signal.tokens[index], 0)
        order: list[int] = index[np.lexsort((index, signal.loss[index], longest, ~near, short))].tolist()
        return order


def _reason(signal: Candidates, ranked: list[int], row: int) -> str:
    """Which of how many replies to the prompt it is, and by how much it is likelier than the next."""
    place = ranked.index(row)
    if len(ranked) == 1:
        return "the only reply to its prompt"
    said = f"reply {place + 1} of {len(ranked)} to its prompt"
    if place + 1 == len(ranked):
        return said
    return f"{said}, {signal.loss[ranked[place + 1]] - signal.loss[row]:.3g} nats per token below the next"
