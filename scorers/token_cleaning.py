"""Token Cleaning: random rows, of which the tokens count that fine-tuning makes likelier."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from curate.errors import InputError
from curate.method import Cost, Data, Method
from curate.requests import Fit, Observe, Request, Subset, TokenWeights
from curate.selectors.tokens import keep_tokens
from curate.selectors.top_k import top_k
from curate.signals import RowScore, RowTokens
from curate.wording import counted
from scorers.random import drawn
from scorers.warm_up import marked, seen_before, warm_up, without_warmup

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit
    from curate.selectors.picks import Picks

WHOLE = 0  # the part of which all tokens are kept


@dataclass(frozen=True)
class Cleaning:
    """tokens: loss of the model less that of the reference, in nats, per scored token. draw float64 [n]: the order of the rows.

    part int64 [n]: tokens compete with those of their part only, and all of part 0 are kept.
    warm bool [n]: the rows that the one reference of all tokens was trained on.
    """

    tokens: RowTokens
    draw: np.ndarray
    part: np.ndarray
    warm: np.ndarray

    @property
    def reasons(self) -> np.ndarray:
        """Why a row has no scores of tokens."""
        return self.tokens.reasons

    def __len__(self) -> int:
        return len(self.tokens)


class TokenCleaning(Method):
    """Pick rows at random, and of their reply tokens those that a fine-tuned reference finds easiest against the model.

    Score of a token: its loss under the model less that under the reference, in nats; the best share of all picked rows is kept
    and the others do not count in training. Rows have no score: they are those of `random`. Source: arXiv 2502.01968.

    fixed          the reference is the model after fine-tuning on a warm-up part of the pool, all tokens.
    self-evolving  the pool is cut into parts at random. The reference of the second is the model after fine-tuning on the first,
                   all tokens; that of each further one goes on from the last on the part before it, cleaned.
    """

    name: ClassVar[str] = "token-cleaning"
    paper: ClassVar[str] = "2502.01968"
    cost: ClassVar[Cost] = "training"
    by_chance: ClassVar[bool] = True

    mode: Literal["fixed", "self-evolving"] = Field("fixed", description="one reference, or one that goes on learning")
    keep: float = Field(0.6, gt=0, le=1, description="share of the reply tokens that is kept")
    threshold: Literal["global", "sample"] = Field("global", description="the best of all picked rows together, or of each")
    warmup: int | float = Field(
        0.2, gt=0, description="fixed: rows that the reference is trained on; below 1 a share of the pool"
    )
    warmup_by: str = Field("random", description="fixed: which rows, random or the best of this method")
    exclude_warmup: bool = Field(False, description="fixed: rows that the reference is trained on are not picked")
    parts: int = Field(5, ge=2, description="self-evolving: of the pool; all tokens of the first are kept")
    epochs: float = Field(1.0, gt=0, description="passes over the rows of each reference fit")

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """Losses of every token under the model and under its reference, or chain of references."""
        if self.mode == "self-evolving":
            return [self._base(data), *self._chain(data, seen)]
        asked, rows = warm_up(data, seen, self.warmup, self.warmup_by)
        return [self._base(data), *asked, *([] if rows is None else [self._fixed(data, rows)])]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Cleaning:
        """The scores of all tokens of the pool, and the order in which its rows are drawn."""
        base = seen[self._base(data)]
        if self.mode == "fixed":
            _, rows = warm_up(data, seen, self.warmup, self.warmup_by)
            assert rows is not None
            scores = token_scores(base, seen[self._fixed(data, rows)])
            return Cleaning(scores, drawn(data).values, np.ones(len(scores), dtype=np.int64), marked(rows))
        parts, chain = self._parts(data), self._chain(data, seen)
        values: list[np.ndarray | None] = [None if row is None else np.zeros_like(row) for row in base.values]
        reasons, part = base.reasons.copy(), np.full(len(base), WHOLE, dtype=np.int64)
        for number, (rows_of, asked) in enumerate(zip(parts[1:], chain, strict=True), 1):
            found = token_scores(_some(base, rows_of), seen[asked])
            part[rows_of], reasons[rows_of] = number, found.reasons
            for i, row in zip(rows_of.tolist(), found.values, strict=True):
                values[i] = row
        nothing = np.zeros(len(base), dtype=bool)  # no reference scores the rows that it was trained on
        return Cleaning(RowTokens(values, reasons), drawn(data).values, part, nothing)

    def unscored(self) -> str | None:
        """That it scores tokens."""
        return f"{self.name} scores tokens, and draws rows at random"

    def score(self, signal: Cleaning) -> RowScore:
        """Null: rows are drawn."""
        return RowScore.none(signal, self.unscored() or "")

    def choose(self, signal: Cleaning, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """Rows at random, with their best tokens; those of which none is kept are left out.

        Raises InputError where no token is kept at all, and where the scores are of other tokens than the rows have.
        """
        there = np.array([row is not None for row in signal.tokens.values], dtype=bool)
        if self.exclude_warmup and len(there):
            there &= without_warmup(signal.warm, self.name)
        picks = top_k(np.where(there, signal.draw, np.nan), limit)
        _same_tokens(signal.tokens, table["response_tokens"].to_numpy())
        kept: dict[int, np.ndarray] = {}
        for part in np.unique(signal.part[picks.index]).tolist():
            rows = np.sort(picks.index[signal.part[picks.index] == part]).tolist()  # ties go to the earlier row
            kept |= zip(rows, self._kept([signal.tokens.values[i] for i in rows], part), strict=True)
        left = [k for k, i in enumerate(picks.index.tolist()) if kept[i].any()]
        if len(picks) and not left:
            raise InputError(f"{self.name} keeps no token of {len(picks):,} rows at keep={self.keep:g}; raise it or the budget")
        index, empty = picks.index[left], len(picks) - len(left)
        short = None if not empty else f"{counted(empty)} drawn left out: no token among those that are kept."
        chosen = replace(
            picks,
            index=index,
            gain=np.full(len(left), np.nan),
            stratum=[None] * len(left),
            reason=[f"drawn at random, {int(kept[i].sum())} of {len(kept[i])} reply tokens kept" for i in index.tolist()],
            shortfall=" ".join(filter(None, (picks.shortfall, short))) or None,
            tokens=[kept[i].astype(np.float32) for i in index.tolist()],
        )
        return replace(chosen, remarks=seen_before(signal.warm, chosen))

    def _kept(self, scores: list[Any], part: int) -> list[np.ndarray]:
        if part == WHOLE:
            return [np.ones(len(row), dtype=bool) for row in scores]
        return keep_tokens(scores, self.keep, threshold=self.threshold, may_be_none=True)

    # ---- the models that are asked

    def _base(self, data: Data) -> Observe:
        return Observe(data.model, data.pool, "token_logprobs")

    def _fit(self, data: Data, model: Any, rows: Subset, tokens: TokenWeights | None = None) -> Fit:
        return Fit(model, rows, data.recipe.every_token().trained_for(self.epochs, data.seed), tokens)

    def _fixed(self, data: Data, rows: Subset) -> Observe:
        return Observe(self._fit(data, data.model, rows), data.pool, "token_logprobs")

    def _parts(self, data: Data) -> list[np.ndarray]:
        """Positions of each part, ascending: equal parts, the last with what is left over."""
        n = data.pool.size
        if n < self.parts:
            raise InputError(f"{self.name}: {n} rows cannot be cut into {self.parts} parts; lower parts")
        rng = np.random.default_rng([data.seed, zlib.crc32(b"token-cleaning/parts")])
        cuts = np.arange(1, self.parts) * (n // self.parts)
        return [np.sort(part) for part in np.split(rng.permutation(n), cuts)]

    def _chain(self, data: Data, seen: Mapping[Request, Any]) -> list[Observe]:
        """The losses of the second and all further parts, each under its reference, as far as what was seen tells."""
        parts = self._parts(data)
        reference = self._fit(data, data.model, Subset(data.pool, parts[0]))
        chain: list[Observe] = []
        for rows in parts[1:]:
            asked = Observe(reference, Subset(data.pool, rows), "token_logprobs")
            chain.append(asked)
            if len(chain) == self.parts - 1 or asked not in seen or self._base(data) not in seen:
                break
            scores = token_scores(_some(seen[self._base(data)], rows), seen[asked])
            there = np.flatnonzero(~scores.is_null)
            kept = self._kept([scores.values[i] for i in there], len(chain))
            learned = [k for k, mask in enumerate(kept) if mask.any()]
            if learned:  # else there is nothing to go on with
                weights = TokenWeights([kept[k].astype(np.float32) for k in learned])
                reference = self._fit(data, reference, Subset(data.pool, rows[there[learned]]), weights)
        return chain


def token_scores(base: RowTokens, reference: RowTokens) -> RowTokens:
    """Loss under the base less loss under the reference, in nats: log p_reference - log p_base of each scored token.

    Null where either is, with its reason.
    """
    pairs = zip(base.values, reference.values, strict=True)
    values = [None if then is None or now is None else now - then for then, now in pairs]
    reasons = np.array([a or b for a, b in zip(base.reasons, reference.reasons, strict=True)], dtype=object)
    return RowTokens(values, reasons)


def _some(tokens: RowTokens, index: np.ndarray) -> RowTokens:
    return RowTokens([tokens.values[i] for i in index], tokens.reasons[index])


def _same_tokens(tokens: RowTokens, response_tokens: np.ndarray) -> None:
    """A reply's tokens are all scored, but for the first of a conversation."""
    for row, replies in zip(tokens.values, response_tokens.tolist(), strict=True):
        if row is not None and not replies - 1 <= len(row) <= replies:
            raise InputError("token-cleaning: the model that scores has other tokens than the one that is trained; let it score")
