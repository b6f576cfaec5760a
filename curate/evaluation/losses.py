"""Metrics that are the loss of the replies as they are given."""

from dataclasses import dataclass
from math import exp, inf

import numpy as np

from curate.evaluation.metric import NATS, Measured, Metric, Run


@dataclass(frozen=True)
class ResponseLoss(Metric):
    """Mean loss of a row's replies, end of turn included, in nats per token; rows weigh by their reply tokens."""

    name: str = "response_loss"
    unit: str = NATS
    lower_is_better: bool = True

    def measure(self, run: Run) -> Measured:
        from curate.lm.forward import mean_losses

        values, counts = mean_losses(run.network, run.encodings, batch_tokens=run.batch_tokens, progress=run.progress)
        return Measured(values, counts.astype(np.float64), int(run.encodings.lengths.sum()))


@dataclass(frozen=True)
class Perplexity(ResponseLoss):
    """The exponential of the mean response loss: per source of its tokens, over sources of the mean of their losses.

    Rows keep their losses, so models are compared on the log scale: a difference d is a ratio of perplexities of exp(d).
    """

    name: str = "perplexity"
    unit: str = f"log scale, {NATS}"

    @property
    def reported(self) -> str:
        return "exp of the loss, lower is better"

    def figure(self, mean: float) -> float:
        return exp(mean) if mean < 700 else inf
