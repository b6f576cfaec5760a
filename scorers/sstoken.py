"""ssToken: random rows, of which each step learns from the tokens that the model improves on and that look to the prompt."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from curate.lm.layers import attention_module
from curate.method import Cost, Data, Method
from curate.requests import Request
from curate.signals import RowScore
from curate.training.config import TrainConfig
from scorers.in_training import IN_TRAINING, refuse_another_policy
from scorers.random import drawn

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class SsToken(Method):
    """Pick rows at random, and let each training step count the tokens of each row that its own score puts first.

    The rows are those of `random`; the tokens are chosen while the model learns, by gamma * the drop of their loss since the
    start, scaled to [0, 1] in each row, + (1 - gamma) * attention to the prompt. Source: arXiv 2510.18250.
    """

    name: ClassVar[str] = "sstoken"
    paper: ClassVar[str] = "2510.18250"
    cost: ClassVar[Cost] = "free"
    extra: ClassVar[str | None] = "a pass over the rows and a forward pass a step"
    by_chance: ClassVar[bool] = True

    keep: float = Field(0.6, gt=0, le=1, description="share of each row's reply tokens that count, rounded up")
    gamma: float = Field(0.5, ge=0, le=1, description="weight of the drop in loss against attention")
    layer: int = Field(-1, description="whose attention is read; -1 is the last")
    drop_sink: bool = Field(False, description="attention to the very first token does not count")
    warmup_steps: int = Field(0, ge=0, description="first steps, which choose by attention alone")
    history_decay: float | None = Field(
        None, ge=0, le=1, description="the history is a running mean of weights; by default the model at the start"
    )

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> RowScore:
        """Uniform numbers [n]: those of `random`."""
        return drawn(data)

    def remarks(self, data: Data, signal: Any) -> list[str]:
        """That the picks alone are not the method."""
        return [IN_TRAINING]

    def check_training(self, recipe: TrainConfig, network: "Callable[[], PreTrainedModel]") -> None:
        """Raises InputError for another token policy, what does not go with one, and a layer that the model does not have."""
        refuse_another_policy(self.name, recipe)
        recipe.under(self._policy())
        attention_module(network(), self.layer)

    def training(self, data: Data, seen: Mapping[Request, Any], recipe: TrainConfig) -> TrainConfig:
        """The recipe with the token policy."""
        return recipe.under(self._policy())

    def _policy(self) -> dict[str, Any]:
        return {
            "token_policy": "sstoken",
            "keep_tokens": self.keep,
            "gamma": self.gamma,
            "attention_layer": self.layer,
            "drop_sink": self.drop_sink,
            "policy_warmup_steps": self.warmup_steps,
            "history_decay": self.history_decay,
        }
