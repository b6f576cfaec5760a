"""LoBaSS, later DavIR: keep what the base model can learn."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from curate.method import Cost, Data, Method
from curate.requests import Fit, Observe, Request
from curate.signals import RowScore


class LoBaSS(Method):
    """Keep the rows whose loss drops most, in proportion, when the model is fine-tuned on the pool.

    Score 1 - loss_reference / loss_base, unitless, at most 1; higher is more learnable, below 0 the loss grew. The
    reference is the base model after fine-tuning on the whole pool by the final run's settings, except that `epochs` says for how
    long and that it learns from all reply tokens whatever the token policy. Source: arXiv 2310.13008.

    `form` has what it is not, to compare with: `difference`, loss_base - loss_reference of the whole reply in nats (RHO, arXiv
    2206.07137; it grows with the reply's length), and `per_token`, the same in nats per reply token.
    """

    name: ClassVar[str] = "lobass"
    paper: ClassVar[str] = "2310.13008"
    cost: ClassVar[Cost] = "training"

    form: Literal["relative", "difference", "per_token"] = Field(
        "relative", description="relative loss drop; or the drop itself, of the whole reply or per token"
    )
    epochs: float = Field(1.0, gt=0, description="passes over the pool that the reference is trained for")
    min_base_loss: float = Field(1e-3, ge=0, description="nats per token; below it the ratio is noise and null")
    min_response_tokens: int = Field(1, ge=1, description="rows with fewer reply tokens are null")
    exclude_unlearnable: bool = Field(False, description="leave out rows whose loss did not drop")

    def _base(self, data: Data) -> Observe:
        return Observe(data.model, data.pool, "mean_loss")

    def _reference(self, data: Data) -> Observe:
        recipe = data.recipe.every_token().trained_for(self.epochs, data.seed)  # whose losses are of all reply tokens
        return Observe(Fit(data.model, data.pool, recipe), data.pool, "mean_loss")

    def _length(self, data: Data) -> Observe:
        return Observe(data.model, data.pool, "response_tokens")

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """One fit on the pool, and the mean loss of each row under the base model and under the fit."""
        return [self._base(data), self._reference(data), self._length(data)]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> RowScore:
        """Loss drop [n]: relative and unitless, or in nats by its form."""
        base, reference, length = seen[self._base(data)], seen[self._reference(data)], seen[self._length(data)]
        if self.form != "relative":
            drop = base.values - reference.values
            score = RowScore.of(drop * length.values if self.form == "difference" else drop, base, reference)
            return self._kept(score, length)
        small = base.values < max(self.min_base_loss, np.finfo(np.float64).tiny)
        ratio = np.divide(reference.values, base.values, out=np.full(len(base), np.nan), where=~small)
        score = RowScore.of(np.where(small, 0.0, 1 - ratio), base, reference)
        return self._kept(score.null(small, f"the base loss is below {self.min_base_loss:g}"), length)

    def _kept(self, score: RowScore, length: RowScore) -> RowScore:
        score = score.null(length.values < self.min_response_tokens, f"fewer than {self.min_response_tokens} reply tokens")
        if self.exclude_unlearnable:
            score = score.null(score.values <= 0, "the loss did not drop")
        return score
