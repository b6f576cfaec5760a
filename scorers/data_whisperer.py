"""Data Whisperer: how much a row helps the very model that is to be trained, as an example in its context."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from curate.errors import InputError
from curate.method import Cost, Data, Method
from curate.requests import Ask, Examples, Generate, Replies, Request, Rows, Subset
from curate.signals import RowScore
from scorers.rewards import EXTRACTOR, METRIC, rewards

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit
    from curate.lm.encodings import Encodings
    from curate.selectors.picks import Picks

DEPTH = 0.42  # of the layer whose attention is read, in the depth of the model: 13 of 32 and the like in the paper's code
NEVER = "it stood in no context that could be used"


@dataclass(frozen=True)
class Whispered(RowScore):
    """Mean weighted reward [n]. error: float64 [n], its standard error over reshuffles, NaN of one alone; contexts int64 [n].

    reward: mean over all contexts, before anything is taken off.
    """

    error: np.ndarray
    contexts: np.ndarray
    reward: float


class DataWhisperer(Method):
    """Keep the rows that help the model most when it has them as examples.

    The model answers questions behind groups of examples; an example's share of each reward is its share of the attention that
    one layer gives to the examples. Score: the mean of share x (reward - the question's mean reward) over its contexts; the
    authors' code shows each row in one context and takes nothing off. Questions are the target's, without one those of
    the other half of the pool. Source: arXiv 2505.12212 and its authors' code.
    """

    name: ClassVar[str] = "data-whisperer"
    paper: ClassVar[str] = "2505.12212"
    cost: ClassVar[Cost] = "generation"

    examples: int = Field(5, ge=1, description="rows in a context")
    questions: int = Field(3, ge=1, description="asked behind each group of examples, one at a time")
    reshuffles: int = Field(5, ge=1, description="groups that each row is in; the paper has 1, which leaves no standard error")
    metric: str = Field("f1", description=METRIC)
    extractor: str = Field("text", description=EXTRACTOR)
    centre: bool = Field(True, description="take off what the question's reward is on average; the paper does not")
    layer: int | None = Field(None, description="whose attention is read, from 0; by default the one at 0.42 of the depth")
    max_new_tokens: int = Field(128, ge=1, description="of an answer")

    def check(self, rows: "Encodings") -> None:
        """At least two rows, and a metric that there is."""
        rewards([], [], self.metric, self.extractor)
        if len(rows) < 2:
            raise InputError("data-whisperer: the pool has 1 row, and at least 2 are needed, to answer behind each other")

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """Answers to questions behind examples, and what they attend to, of every reshuffle."""
        asked = contexts(data.pool, data.target, self.examples, self.questions, self.reshuffles, data.seed)
        layer = DEPTH if self.layer is None else self.layer
        return [
            Generate(data.model, rows, self.max_new_tokens, ask=Ask(examples=shown, attention=layer)) for _, rows, shown in asked
        ]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Whispered:
        """Mean weighted reward [n]."""
        asked = contexts(data.pool, data.target, self.examples, self.questions, self.reshuffles, data.seed)
        answers: list[Replies] = [seen[request] for request in self.requests(data, seen)]
        turn = np.concatenate([np.full(rows.size, turn) for turn, rows, _ in asked])
        question = np.concatenate([rows.index for _, rows, _ in asked])
        shown = np.concatenate([examples.index for _, _, examples in asked])
        attention = np.concatenate([found.attention for found in answers if found.attention is not None])
        reward = np.concatenate([rewards(found.texts, found.own, self.metric, self.extractor) for found in answers])
        known = np.isfinite(reward)
        if known.any() and self.centre:
            counts = np.bincount(question[known])
            means = np.bincount(question[known], reward[known]) / np.maximum(counts, 1)
            usual = np.where(counts > 1, means, reward[known].mean())  # a question asked once says nothing of how hard it is
            centred = np.where(known, reward - np.append(usual, np.zeros(question.max()))[question], np.nan)
        else:
            centred = reward
        share = attention / np.nansum(attention, axis=1, keepdims=True).clip(1e-30)
        value = share * centred[:, None]
        there = np.isfinite(value)
        cell = shown * self.reshuffles + turn[:, None]  # a row's contexts of one reshuffle are one measurement
        cells = data.pool.size * self.reshuffles
        sums, counts = (np.bincount(cell[there], one, cells).reshape(-1, self.reshuffles) for one in (value[there], None))
        score, error = _mean_and_error(sums, counts)
        null = np.array([None if one else NEVER for one in counts.sum(axis=1)], dtype=object)
        mean = float(reward[known].mean()) if known.any() else float("nan")
        return Whispered(score, null, error, counts.sum(axis=1).astype(np.int64), mean)

    def remarks(self, data: Data, signal: Any) -> list[str]:
        """How sure the scores are, and whether the model answers anything at all."""
        there = signal.values[~signal.is_null]
        if not len(there):
            return ["no context could be used: the rows are too long for the model, or its answers could not be compared"]
        said = [f"the model's answers are worth {signal.reward:.3g} on average by {self.metric}"]
        if np.ptp(there) == 0:
            return [*said, "no row helps more than another, so ties decide"]
        if self.reshuffles > 1:
            errors = signal.error[np.isfinite(signal.error)]
            if len(errors):
                said.append(
                    f"scores have a standard deviation of {there.std():.2g} and over reshuffles a median standard error of "
                    f"{np.median(errors):.2g}; where these are alike, more reshuffles are needed"
                )
        return said

    def choose(self, signal: Whispered, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """The best scores, each with its standard error as reason."""
        picks = super().choose(signal, table, limit, rng)
        return replace(picks, reason=[_reason(signal, i) for i in picks.index.tolist()])


def _mean_and_error(sums: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(float64 [n] means, float64 [n] standard errors) over reshuffles, of sums and numbers of contexts [n, reshuffles]."""
    there = counts > 0
    each = np.where(there, sums / np.maximum(counts, 1), 0.0)
    turns = there.sum(axis=1)
    mean = np.where(turns > 0, each.sum(axis=1) / np.maximum(turns, 1), np.nan)
    squares = (np.where(there, each - np.nan_to_num(mean)[:, None], 0.0) ** 2).sum(axis=1)
    error = np.sqrt(squares / np.maximum(turns - 1, 1) / np.maximum(turns, 1))
    return mean, np.where(turns > 1, error, np.nan)


def _reason(signal: Whispered, row: int) -> str:
    sure = f" ± {signal.error[row]:.2g}" if np.isfinite(signal.error[row]) else ""
    return f"{signal.values[row]:+.3g}{sure} over {signal.contexts[row]:,} contexts"


@lru_cache(maxsize=4)
def contexts(
    pool: Rows, target: Rows | None, examples: int, questions: int, reshuffles: int, seed: int
) -> tuple[tuple[int, Subset, Examples], ...]:
    """(reshuffle, the rows that ask, what is shown in front of each) per request: no row asks twice in one.

    Each reshuffle puts every row of the pool into a group of `examples` (the last one is filled up by others), and asks so many
    questions behind each group: of the target, or in halves, each of the other.
    """
    made = []
    for turn in range(reshuffles):
        rng = np.random.default_rng([seed, turn, 0x77686973])
        order = rng.permutation(pool.size)
        halves = [order] if target else np.array_split(order, 2)
        size = min(examples, *map(len, halves))
        waves: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
        for half, asking in zip(halves, [np.arange(target.size)] if target else halves[::-1], strict=True):
            groups = np.resize(half, (-(-len(half) // size), size))
            shown = np.repeat(groups, questions, axis=0)
            for wave, start in enumerate(range(0, len(shown), len(asking))):
                part = shown[start : start + len(asking)]
                waves.setdefault(wave, []).append((rng.permutation(asking)[: len(part)], part))
        for parts in waves.values():
            rows, shown = (np.concatenate(part) for part in zip(*parts, strict=True))
            order_of = np.argsort(rows)
            made.append((turn, Subset(target or pool, rows[order_of]), Examples(pool, shown[order_of])))
    return tuple(made)
