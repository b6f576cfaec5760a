"""BIDS: influence on every target example alike, the least served first."""

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from curate.method import SETS
from curate.selectors.bids import baseline, bids
from curate.signals import RowScore
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

    rule: Literal["max", "argmin_task", "task_max", "sum", "instance_max"] = Field(
        "max",
        description="max: the largest gain over all targets; argmin_task: the best row for the target with the least; "
        "task_max, sum, instance_max: rows by a score of their own, which the paper compares with",
    )
    normalise: bool = Field(True, description="standardise the influence on each target over the pool; false: as LESS has it")

    def score(self, signal: Influences) -> RowScore:
        """[n]: of the rules that score rows by themselves, influence standardised or as it is; null for the others."""
        if self.rule == "max" or self.rule == "argmin_task":
            return super().score(signal)
        return RowScore(baseline(signal.values, self.rule, signal.subtasks, normalise=self.normalise), signal.reasons)

    def unscored(self) -> str | None:
        """That it chooses sets, but for the rules that score rows."""
        return f"{self.name} {SETS}" if self.rule in ("max", "argmin_task") else None

    def choose(self, signal: Influences, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """Greedy picks; `gain` is the influence above the mean of the picks before. Of the other rules the best scores."""
        if self.rule == "max" or self.rule == "argmin_task":
            return bids(signal.values, limit, rule=self.rule, normalise=self.normalise)
        return super().choose(signal, table, limit, rng)
