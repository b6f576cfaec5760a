"""mmSSR's rule: a budget over several scores, each spread over styles, the rarest first."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from curate.lm.models import ModelSpec
from curate.method import Cost, Data, Method
from curate.quality import COLUMN, TOKENS, quality, quality_readers, quality_requests, shares
from curate.registry import listed
from curate.requests import Embed, Request
from curate.selectors.axes import by_axes
from curate.signals import RowScore
from scorers.clustered import clustered

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit
    from curate.selectors.picks import Picks


@dataclass(frozen=True)
class Axes:
    """Scores of each row by axis, each as shares of rows it is at least as good as, and the clusters of the rows if asked for."""

    axes: dict[str, RowScore]
    clusters: list[str | None] | None

    @property
    def reasons(self) -> np.ndarray:
        """object [n]: why a row has no value on some axis, else None."""
        return RowScore.of(np.zeros(len(self)), *self.axes.values()).reasons

    def __len__(self) -> int:
        return len(next(iter(self.axes.values())))


class MmSSR(Method):
    """Give several scores an equal part of the budget each, and inside it every style its share, rare styles first.

    Score: the mean over the axes of the share of rows that a row is at least as good as, in (0, 1]. The paper's axes are fourteen
    capabilities rated by a tuned model and its styles are rated too; here both are named. Source: arXiv 2503.13383.
    """

    name: ClassVar[str] = "mmssr"
    paper: ClassVar[str] = "2503.13383"
    cost: ClassVar[Cost] = "forward"

    axes: str = Field(
        "tokens,perplexity", description=f"qualities with commas: tokens, {COLUMN}NAME (numbers of your own), or methods by name"
    )
    styles: Literal["source", "clusters", "none"] = Field("source", description="bins that share an axis's part")

    @model_validator(mode="after")
    def _has_axes(self) -> Self:
        for axis in self._names():
            quality_readers(axis)  # which says when there is no such method, or it can give none
        return self

    def _names(self) -> list[str]:
        return listed(self.axes, others=(TOKENS, COLUMN.rstrip(":")))

    def readers(self) -> tuple[ModelSpec, ...]:
        """Those of the methods that give the axes."""
        return tuple(dict.fromkeys(reader for axis in self._names() for reader in quality_readers(axis)))

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """What the axes need, and vectors where styles are clusters."""
        vectors = [Embed(data.embedder, data.pool)] if self.styles == "clusters" else []
        return [*vectors, *(request for axis in self._names() for request in quality_requests(axis, data, seen))]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Axes:
        """The axes [n], each from 0 to 1."""
        axes = {axis: shares(quality(axis, data, seen, rng)) for axis in self._names()}
        parts = clustered(seen[Embed(data.embedder, data.pool)], "auto", rng) if self.styles == "clusters" else None
        return Axes(axes, parts.strata if parts else None)

    def score(self, signal: Axes) -> RowScore:
        """The mean [n] over the axes; null where a row has no value on one."""
        return RowScore.of(np.mean([axis.values for axis in signal.axes.values()], axis=0), *signal.axes.values())

    def order(self) -> str:
        """Axis after axis."""
        return "axis after axis, best first"

    def choose(self, signal: Axes, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """Axis after axis, bin after bin; `stratum` is the axis."""
        bins = signal.clusters if signal.clusters is not None else table["source"].to_list()
        if self.styles == "none":
            bins = [None] * len(signal)
        null = signal.reasons != None  # noqa: E711 (elementwise)
        return by_axes({name: np.where(null, np.nan, axis.values) for name, axis in signal.axes.items()}, bins, limit)
