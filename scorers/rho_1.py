"""Rho-1: random rows, of which each step learns from the tokens that a reference model finds easier."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from curate.method import Cost, Data, Method
from curate.requests import Fit, Observe, Request, Subset
from curate.training.config import TrainConfig
from scorers.in_training import IN_TRAINING, refuse_another_policy
from scorers.random import drawn
from scorers.warm_up import Drawn, marked, seen_before, warm_up, without_warmup

if TYPE_CHECKING:
    import polars as pl
    from transformers import PreTrainedModel

    from curate.budget import Limit
    from curate.selectors.picks import Picks


class Rho1(Method):
    """Pick rows at random, and let each training step count the tokens whose loss exceeds a reference model's most.

    The rows are those of `random`; the tokens are chosen while the model learns, by the excess of its loss at that step over the
    reference's, in nats. The reference is the model after fine-tuning on a part of the pool. Source: arXiv 2404.07965.
    """

    name: ClassVar[str] = "rho-1"
    paper: ClassVar[str] = "2404.07965"
    cost: ClassVar[Cost] = "training"
    extra: ClassVar[str | None] = "a forward pass a step"
    by_chance: ClassVar[bool] = True

    keep: float = Field(0.6, gt=0, le=1, description="share of the reply tokens of a batch that count")
    warmup: int | float = Field(0.2, gt=0, description="rows that the reference is trained on; below 1 a share of the pool")
    warmup_by: str = Field("random", description="which rows: random, or the best of this method")
    epochs: float = Field(1.0, gt=0, description="passes over those rows")
    exclude_warmup: bool = Field(False, description="rows that the reference is trained on are not picked")

    def _fit(self, data: Data, rows: Subset) -> Fit:
        return Fit(data.model, rows, data.recipe.every_token().trained_for(self.epochs, data.seed))

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """The reference, and its losses of every token."""
        asked, rows = warm_up(data, seen, self.warmup, self.warmup_by)
        if rows is None:
            return asked
        fit = self._fit(data, rows)
        return [*asked, fit, Observe(fit, data.pool, "token_logprobs")]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Drawn:
        """Uniform numbers [n]: those of `random`, without the warm-up's where it is excluded."""
        found, warm = drawn(data), marked(warm_up(data, seen, self.warmup, self.warmup_by)[1])
        if self.exclude_warmup:
            found = found.null(~without_warmup(warm, self.name), "the reference was trained on it")
        return Drawn(found.values, found.reasons, warm)

    def choose(self, signal: Drawn, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """Rows at random; a remark says how many of them the reference knows."""
        picks = super().choose(signal, table, limit, rng)
        return replace(picks, remarks=seen_before(signal.warm, picks))

    def remarks(self, data: Data, signal: Any) -> list[str]:
        """That the picks alone are not the method."""
        return [IN_TRAINING]

    def check_training(self, recipe: TrainConfig, network: "Callable[[], PreTrainedModel]") -> None:
        """Raises InputError for another token policy, and for what does not go with one."""
        refuse_another_policy(self.name, recipe)
        recipe.under({"token_policy": self.name})

    def training(self, data: Data, seen: Mapping[Request, Any], recipe: TrainConfig) -> TrainConfig:
        """The recipe with the token policy and the reference's folder."""
        _, rows = warm_up(data, seen, self.warmup, self.warmup_by)
        assert rows is not None
        reference = seen[self._fit(data, rows)].folder.absolute()  # a training elsewhere finds it too
        return recipe.under({"token_policy": self.name, "keep_tokens": self.keep, "reference": str(reference)})
