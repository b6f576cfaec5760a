"""Random choice with an equal share for every source."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from curate.method import Cost, Data, Method
from curate.requests import Request
from curate.selectors.quota import quota
from curate.signals import RowScore

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit
    from curate.selectors.picks import Picks


class Balanced(Method):
    """Pick at random, an equal share from every source.

    What a small source cannot fill goes to the others.

    Score: a uniform number in [0, 1); the quota makes the choice. Smallest source first, as in arXiv 2403.07384.
    """

    name: ClassVar[str] = "balanced"
    paper: ClassVar[str] = "control"
    cost: ClassVar[Cost] = "free"
    by_chance: ClassVar[bool] = True

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> RowScore:
        """Uniform numbers [n], unitless."""
        return RowScore.of(rng.random(data.pool.size))

    def choose(self, signal: Any, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """Equal quotas by the column `source`; rows without a source are a group of their own."""
        return quota(table["source"].to_list(), np.argsort(-signal.values, kind="stable"), limit, name="source")
