"""A window of the perplexity ranking: the middle, the low end or the high end."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from curate.method import Cost, Data, Method
from curate.requests import Observe, Request
from curate.selectors.window import mean_rank, window
from curate.signals import RowScore

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit
    from curate.selectors.picks import Picks

CENTRE = {"low": 0.0, "mid": 0.5, "high": 1.0}


class Perplexity(Method):
    """Keep the rows whose reply is of middling (or low, or high) perplexity under the model.

    Score: mean loss over the reply's tokens in nats, the logarithm of perplexity. `window` says which part of the
    ranking is kept: `mid` takes the rows closest in rank to the median. Source: arXiv 2309.04564, 2405.20541.
    """

    name: ClassVar[str] = "perplexity"
    paper: ClassVar[str] = "2309.04564"
    cost: ClassVar[Cost] = "forward"

    window: Literal["low", "mid", "high"] = Field("mid", description="part of the ranking that is kept")

    def _loss(self, data: Data) -> Observe:
        return Observe(data.model, data.pool, "mean_loss")

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """Mean loss of each row: one pass of the model."""
        return [self._loss(data)]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> RowScore:
        """Mean loss [n], nats per reply token."""
        return seen[self._loss(data)]

    def preference(self, signal: Any) -> np.ndarray:
        """How close [n] a row's rank is to the window's centre: 0 at the centre, -1 at most."""
        values = signal.values
        there = ~np.isnan(values)
        near = np.full(len(values), np.nan)
        near[there] = -np.abs(mean_rank(values[there]) / max(1, there.sum() - 1) - CENTRE[self.window])
        return near

    def choose(self, signal: Any, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """The rows closest in rank to the window's centre."""
        return window(signal.values, limit, center=CENTRE[self.window])
