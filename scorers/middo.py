"""Middo's flags: rows that stay hard, that are poor, and that nothing is like."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from curate.lm.models import ModelSpec
from curate.lm.views import INSTRUCTION
from curate.method import Cost, Data, Method
from curate.neighbours import nearest, unit_vectors
from curate.quality import DESCRIPTION, NONE, quality, quality_readers, quality_requests
from curate.requests import Embed, Fit, HiddenStates, Observe, Request
from curate.selectors.picks import Picks, prefix, shortfall
from curate.signals import RowScore
from curate.wording import counted

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit

HARD, POOR, RARE = "complexity", "quality", "diversity"
NEIGHBOURS = 2


@dataclass(frozen=True)
class Flagged(RowScore):
    """How many flags speak against each row [n]; flags: bool [n] by name."""

    flags: Mapping[str, np.ndarray]

    def said(self, i: int) -> str:
        """The flags of a row, for people."""
        return ", ".join(name for name, where in self.flags.items() if where[i])


class Middo(Method):
    """Keep the rows that no flag speaks against, or list the flagged ones for review.

    Flags: complexity, the loss stays high when the model is trained on the pool; quality, a quality of your choice is low;
    diversity, the instruction has no near neighbours, which speaks for a row. Score: how many of the first two a row has; lower
    is kept first. The paper has a stronger model rewrite flagged rows, which is not done here. Source: arXiv 2508.21589.
    """

    name: ClassVar[str] = "middo"
    paper: ClassVar[str] = "2508.21589"
    cost: ClassVar[Cost] = "training"
    larger_is_better: ClassVar[bool] = False
    by_chance: ClassVar[bool] = True

    keep: Literal["clean", "flagged"] = Field("clean", description="flagged: the queue for review, most flags first")
    sigmas: float = Field(1.0, gt=0, description="standard deviations from the mean from which on a row is flagged")
    quality: str = Field(NONE, description=f"{DESCRIPTION}; low values are flagged; none: the flag is not raised")
    epochs: float = Field(1.0, gt=0, description="passes over the pool that the model is trained for")

    @model_validator(mode="after")
    def _has_a_quality(self) -> Self:
        quality_readers(self.quality)  # which says when there is no such method, or it can give none
        return self

    def _asked(self, data: Data) -> tuple[Observe, Observe, Embed]:
        """The losses before and after, and the instructions' vectors after."""
        fit = Fit(data.model, data.pool, data.recipe.every_token().trained_for(self.epochs, data.seed))
        before, after = (Observe(model, data.pool, "mean_loss") for model in (data.model, fit))
        return before, after, Embed(HiddenStates(fit), data.pool, INSTRUCTION)

    def readers(self) -> tuple[ModelSpec, ...]:
        """Those of the method that gives quality."""
        return quality_readers(self.quality)

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """A training on the pool, losses before and after, vectors of the instructions, and what the quality needs."""
        return [*self._asked(data), *quality_requests(self.quality, data, seen)]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Flagged:
        """How many flags speak against each row [n], and which rows each flag is of."""
        before, after, vectors = (seen[request] for request in self._asked(data))
        good = quality(self.quality, data, seen, rng)
        flags = {
            HARD: self._beyond(before.values, 1) & self._beyond(after.values, 1),
            POOR: self._beyond(good.values, -1),
            RARE: self._beyond(_likeness(vectors), -1),
        }
        score = RowScore.of(flags[HARD].astype(float) + flags[POOR], before, after, good)
        return Flagged(score.values, score.reasons, flags)

    def _beyond(self, values: np.ndarray, sign: int) -> np.ndarray:
        """bool [n]: above mean + sigmas x deviation, or for -1 below mean - sigmas x deviation; False for nulls."""
        there = values[~np.isnan(values)]
        if not len(there) or there.std() == 0:
            return np.zeros(len(values), dtype=bool)
        found: np.ndarray = sign * (values - there.mean()) > self.sigmas * there.std()
        return found

    def order(self) -> str:
        """By flags."""
        return "fewest flags first, at random among equals" if self.keep == "clean" else "most flags first"

    def remarks(self, data: Data, signal: Flagged) -> list[str]:
        """How many rows each flag is of."""
        raised = [name for name in signal.flags if name != POOR or self.quality != NONE]
        return [f"{counted(int(signal.flags[name].sum()))} flagged for {name}" for name in raised]

    def choose(self, signal: Flagged, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> Picks:
        """The rows of fewest flags at random, or those of most; `stratum` says which flags."""
        there = np.flatnonzero(~signal.is_null)
        if self.keep == "clean":
            shuffled = rng.permutation(there)
            order = shuffled[np.argsort(signal.values[shuffled], kind="stable")]
        else:
            rank = signal.values[there] + 0.5 * signal.flags[RARE][there]
            order = there[np.argsort(-rank, kind="stable")]
        picked = prefix(order, limit)
        said = [signal.said(i) for i in picked.tolist()]
        reasons = [f"flagged for {flags}" if flags else "no flag" for flags in said]
        nulls = len(signal) - len(there)
        return Picks(picked, signal.values[picked], [s or None for s in said], reasons, nulls, shortfall(picked, order, limit))


def _likeness(vectors: Any) -> np.ndarray:
    """float64 [n]: the mean cosine with the two nearest other rows; NaN where there is no vector."""
    units, pairs = unit_vectors(vectors), nearest(vectors, vectors, NEIGHBOURS, same=True)
    cosines = np.einsum("pd,pd->p", units[pairs[:, 0]], units[pairs[:, 1]], dtype=np.float64)
    total, count = (np.bincount(pairs[:, 0], weights=w, minlength=len(units)) for w in (cosines, np.ones(len(pairs))))
    return np.divide(total, count, out=np.full(len(units), np.nan), where=count > 0)
