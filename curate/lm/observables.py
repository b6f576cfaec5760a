"""What can be recorded about a row while a model runs over it.

A pass gives a *trace* of each row: an array per name in `PER_TOKEN` (one number for each scored token, float32), in `POOLED`
(a vector of the model's width, float32) and in `PER_ROW` (one number, or none where no token is scored, float32). An
observable asks for some of them and turns them into one value. Numbers are reduced in
float64. Raise `version` when the same row would give another result.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa

FORWARD_VERSION = 3  # raise it when the same model and row would give another trace
JUDGE_VERSION = 1  # of `curate.lm.judging`; raise it when the same model and text would get other log-odds
GENERATE_VERSION = 1  # of `curate.lm.generate`; raise it when the same model and prompt would get another reply

PER_TOKEN = ("logp", "entropy", "margin", "el2n")
POOLED = ("hidden_mean", "hidden_last", "hidden_weighted")
PER_ROW = ("don", "nod")

Trace = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Observable:
    """A named record of a pass: `reduce` maps a trace that has `needs` to its value.

    Without needs the token ids alone tell (no model is loaded): `reduce` then gets (tokens, scored tokens).
    """

    name: str
    unit: str
    type: pa.DataType
    needs: tuple[str, ...]
    reduce: Callable[..., Any]
    version: int = 1

    @property
    def forward(self) -> bool:
        """Whether a model must run."""
        return bool(self.needs)

    @property
    def vector(self) -> bool:
        """Whether every row's value is a vector of the model's width."""
        return any(name in POOLED for name in self.needs)


def _mean(name: str, what: str, unit: str, sign: float = 1.0) -> Observable:
    return Observable(what, unit, pa.float64(), (name,), lambda trace: sign * float(trace[name].mean(dtype=np.float64)))


def _tokens(name: str, what: str, unit: str) -> Observable:
    return Observable(what, unit, pa.list_(pa.float32()), (name,), itemgetter(name))


def _sum_loss(trace: Trace) -> float:
    return -float(trace["logp"].sum(dtype=np.float64))


def _distance(trace: Trace) -> float:
    missing = -np.expm1(trace["logp"].astype(np.float64))  # 1 - p, with its digits where p is near 1
    return float(np.sqrt(np.mean(missing * missing)))


MEAN_LOSS = _mean("logp", "mean_loss", "nats per token", sign=-1.0)
SUM_LOSS = Observable("sum_loss", "nats", pa.float64(), ("logp",), _sum_loss)
TOKEN_LOGPROBS = _tokens("logp", "token_logprobs", "nats, per token")
# Of the model's distribution over the vocabulary where it predicts a token.
ENTROPY = _mean("entropy", "entropy", "nats, mean over tokens")
TOKEN_ENTROPIES = _tokens("entropy", "token_entropies", "nats, per token")
# The largest probability less the second largest: 0 is torn, 1 certain.
MARGIN = _mean("margin", "margin", "probability, mean over tokens")
TOKEN_MARGINS = _tokens("margin", "token_margins", "probability, per token")
# |p - onehot(token)|_2, from 0 to sqrt 2 (arXiv 2107.07075, per token).
EL2N = _mean("el2n", "el2n", "mean over tokens")
TOKEN_EL2N = _tokens("el2n", "token_el2n", "per token")
# |1 - p|_2 / sqrt T over the T scored tokens, p the probability of each: 0 is certain of all, 1 of none (arXiv 2411.04425).
DISTANCE = Observable("distance", "root mean square of 1 - p", pa.float64(), ("logp",), _distance)
# States that the output head reads, pooled over every token of the view; `weighted` by position, 1 for the first token
# (arXiv 2202.08904).
HIDDEN = tuple(Observable(name, "model's own", pa.list_(pa.float32()), (name,), itemgetter(name)) for name in POOLED)
# What a step of gradient descent on the mean loss of the row alone would do to the output head's weights, per unit of its rate
# and for a small one: how much shorter they get, and how far they move (arXiv 2504.14810, `curate.lm.head_gradient`).
OF_HEAD = "of the output head, per unit of learning rate"
DON, NOD = (Observable(n, OF_HEAD, pa.float64(), (n,), lambda trace, n=n: float(trace[n][0])) for n in PER_ROW)
TOKENS = Observable("tokens", "tokens", pa.int64(), (), lambda total, scored: int(total))
RESPONSE_TOKENS = Observable("response_tokens", "tokens", pa.int64(), (), lambda total, scored: int(scored))

OBSERVABLES = {
    o.name: o
    for o in (
        MEAN_LOSS, SUM_LOSS, TOKEN_LOGPROBS, ENTROPY, TOKEN_ENTROPIES, MARGIN, TOKEN_MARGINS, EL2N, TOKEN_EL2N, DISTANCE,
        DON, NOD, *HIDDEN, TOKENS, RESPONSE_TOKENS,
    )
}  # fmt: skip
