"""S3FT: rows whose replies the model gives in words of its own, where these say the same."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from curate.method import Cost, Data, Method
from curate.pool import Rewrite
from curate.requests import Ask, Generate, Replies, Request, Subset
from curate.signals import RowScore
from scorers.rewards import EXTRACTOR, METRIC, rewards
from scorers.second_opinion import chance, same, worth_saying

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit
    from curate.selectors.picks import Picks

PARAPHRASE = "Above is a question and a right reply to it. Write this reply in your own words, and nothing else."
SELF, PARAPHRASED, GOLD = "self", "paraphrase", "gold"
CHANGES = {SELF: "the model's own reply", PARAPHRASED: "the model's paraphrase"}
LITTLE = 0.9  # share of rows that the model answers as well by itself, from which on it has little to learn


@dataclass(frozen=True)
class Origins:
    """What each row's reply is: origin self, paraphrase or gold, None where unknown; replies: the new one of the first two."""

    origins: list[str | None]
    replies: list[str | None]
    reasons: np.ndarray

    def __len__(self) -> int:
        return len(self.reasons)


class S3FT(Method):
    """Rows at random, with the model's own replies where they say the same as the rows' own.

    If the model's greedy reply is equivalent to the row's, it takes its place; else the model's paraphrase of the row's reply
    does, if that is; else the row stays. A model that learns its own words forgets less. Only which reply a row has is
    chosen, and not which row. Source: arXiv 2502.08130; the first step alone is SSR, arXiv 2409.04787 (`paraphrase=false`).
    """

    name: ClassVar[str] = "s3ft"
    paper: ClassVar[str] = "2502.08130"
    cost: ClassVar[Cost] = "generation"
    by_chance: ClassVar[bool] = True

    by: Literal["metric", "judge"] = Field("metric", description="what is equivalent: by a metric, or as the model judges")
    metric: str = Field("exact_match", description=METRIC)
    extractor: str = Field("text", description=EXTRACTOR)
    threshold: float = Field(
        1.0, gt=0, le=1, description="of the metric, or of the chance of a yes, from which on two are equivalent"
    )
    paraphrase: bool = Field(True, description="let the model paraphrase replies that it does not give itself")
    min_length: float = Field(0.5, ge=0, description="a reply shorter than this part of the row's, in characters, replaces none")
    max_new_tokens: int = Field(256, ge=1, description="of a reply")

    def rewrites(self) -> bool:
        """Always."""
        return True

    def unscored(self) -> str:
        """No row is better than another."""
        return "s3ft chooses replies, not rows"

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """The model's replies, whether they say the same, then its paraphrases of the others', and whether those do."""
        return self._walk(data, seen)[0]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Origins:
        """The origin of the reply of each row."""
        return self._walk(data, seen)[1]

    def _walk(self, data: Data, seen: Mapping[Request, Any]) -> tuple[list[Request], Origins]:
        """The requests that can be known by now, and what they told."""
        n = data.pool.size
        found = Origins([None] * n, [None] * n, np.full(n, None, dtype=object))
        plain = Generate(data.model, data.pool, self.max_new_tokens)
        asked: list[Request] = []
        left = np.arange(n)
        for origin in (SELF, PARAPHRASED)[: 1 + self.paraphrase]:
            if not len(left):
                break
            whole = origin == SELF
            rows = data.pool if whole else Subset(data.pool, left)
            replies = plain if whole else replace(plain, rows=rows, ask=Ask(behind=PARAPHRASE, reply=True))
            asked.append(replies)
            if replies not in seen:
                return asked, found
            said: Replies = seen[replies]
            texts = [worth_saying(text) for text in said.texts]
            if self.by == "judge":
                judged = same(data.model, rows, said.own, texts)
                asked.append(judged)
                if judged not in seen:
                    return asked, found
                near = chance(seen[judged].values[:, 0])
            else:
                near = rewards(texts, said.own, self.metric, self.extractor)
            equal = near >= self.threshold
            for at, row in enumerate(left.tolist()):
                text, own = texts[at], said.own[at] or ""
                if whole:
                    found.reasons[row] = said.reasons[at]
                    found.origins[row] = None if said.reasons[at] else GOLD
                if equal[at] and text is not None and len(text) >= self.min_length * len(own):
                    found.origins[row], found.replies[row] = origin, text
            left = np.array([row for row in left.tolist() if found.origins[row] == GOLD], dtype=np.int64)
        return asked, found

    def remarks(self, data: Data, signal: Any) -> list[str]:
        """The share of each origin, and that there is little to learn where nearly all are the model's own."""
        known = Counter(one for one in signal.origins if one)
        total = max(1, known.total())
        shares = ", ".join(f"{known[name] / total:.0%} {name}" for name in (SELF, PARAPHRASED, GOLD))
        said = [f"replies by origin: {shares}"]
        if known[SELF] > LITTLE * total:
            said.append("the model gives nearly all replies by itself, so there is little to learn from them")
        return said

    def choose(self, signal: Origins, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """Random rows, `stratum` the origin of their replies."""
        from curate.selectors.top_k import top_k

        there = np.array([one is not None for one in signal.origins])
        picks = top_k(np.where(there, rng.random(len(signal)), np.nan), limit)
        index = picks.index.tolist()
        origins = [signal.origins[i] or GOLD for i in index]
        return replace(
            picks,
            gain=np.full(len(index), np.nan),
            stratum=list(origins),
            reason=[f"at random; {CHANGES.get(origin, 'its own reply stays')}" for origin in origins],
            rewritten=[
                Rewrite(text, CHANGES[o]) if (text := signal.replies[i]) else None for i, o in zip(index, origins, strict=True)
            ],
        )

    def score(self, signal: Origins) -> RowScore:
        """Of no row."""
        return RowScore.none(signal, self.unscored())
