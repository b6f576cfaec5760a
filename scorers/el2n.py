"""EL2N: how wrong the model is about a reply, and the hard part of that ranking but for its extreme."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from curate.method import Cost, Data, Method
from curate.requests import Fit, Model, Observe, Request
from curate.selectors.window import below, mean_rank
from curate.signals import RowScore

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit
    from curate.selectors.picks import Picks


class EL2N(Method):
    """Keep the rows about which the model is most wrong, except for the very worst.

    Score: the distance |p - onehot| of the model's distribution from the token that comes, mean over the reply's tokens, from
    0 to the square root of 2; higher is harder. The hardest share (`skip`) is more often noise than difficulty and comes last.
    The paper scores early in a training, over several seeds (`warm_up`, `seeds`); by default it is the model as it is, so that
    the pass is shared. Source: arXiv 2107.07075, which is of images.
    """

    name: ClassVar[str] = "el2n"
    paper: ClassVar[str] = "2107.07075"
    cost: ClassVar[Cost] = "forward"

    skip: float = Field(0.1, ge=0, lt=1, description="share of the hardest rows, which come last")
    warm_up: float = Field(0.0, ge=0, description="epochs over the pool that the model learns before it scores; 0: none")
    seeds: int = Field(1, ge=1, description="of warm_up: how many such trainings the score is the mean of")

    @model_validator(mode="after")
    def _seeds_have_a_use(self) -> Self:
        if self.seeds > 1 and not self.warm_up:
            raise ValueError("seeds are of warm_up, and without it all are the same")
        return self

    def _models(self, data: Data) -> list[Model]:
        if not self.warm_up:
            return [data.model]
        recipe = data.recipe.every_token()
        return [Fit(data.model, data.pool, recipe.trained_for(self.warm_up, data.seed + i)) for i in range(self.seeds)]

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """The EL2N of each row under each model."""
        return [Observe(model, data.pool, "el2n") for model in self._models(data)]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> RowScore:
        """The mean over the models [n]."""
        each: list[RowScore] = [seen[request] for request in self.requests(data, seen)]
        return RowScore.of(np.mean([one.values for one in each], axis=0), *each)

    def preference(self, signal: Any) -> np.ndarray:
        """The rank [n] from 0 to 1, from which 1 is taken for the hardest share."""
        there = ~signal.is_null
        found = np.full(len(signal), np.nan)
        rank = mean_rank(signal.values[there]) / max(1, there.sum() - 1)
        found[there] = np.where(rank > 1 - self.skip + 1e-6, -rank, rank)
        return found

    def choose(self, signal: Any, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """The highest below the quantile."""
        return below(signal.values, limit, top=1 - self.skip)
