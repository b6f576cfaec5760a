"""BIDS: influence on every target example alike, the least served first."""

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from curate.method import SETS
from curate.selectors.bids import bids
from scorers.less import GradientInfluence, Influences

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit
    from curate.selectors.picks import Picks


class BIDS(GradientInfluence):
    """Keep, one after the other, the row that most helps the target example which the picks so far help least.

    Influence as LESS measures it, standardised for each target row over the pool, so that no target drowns the others by its
    scale. Source: arXiv 2501.12147.
    """

    name: ClassVar[str] = "bids"
    paper: ClassVar[str] = "2501.12147"

    rule: Literal["max", "argmin_task"] = Field(
        "max", description="max: the largest gain over all targets; argmin_task: the best row for the target with the least"
    )

    def unscored(self) -> str | None:
        """That it chooses sets."""
        return f"{self.name} {SETS}"

    def choose(self, signal: Influences, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """Greedy picks; `gain` is the standardised influence above the mean of the picks before."""
        return bids(signal.values, limit, rule=self.rule)
