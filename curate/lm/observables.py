"""What can be recorded about a row while a model runs over it.

An observable turns the log-probabilities of a row's reply tokens into one value. The numbers are reduced in float64
from float32 log-probabilities. Raise `version` when the same row would give another result.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

FORWARD_VERSION = 2  # raise it when the same model and row would give other log-probabilities


@dataclass(frozen=True)
class Observable:
    """A named record of a pass: `reduce` maps float32 log-probabilities [T] of the reply's tokens to its value.

    `forward` is False for what the token ids alone tell (no model is loaded): `reduce` then gets (T_all, T_reply).
    """

    name: str
    unit: str
    type: pa.DataType
    reduce: Callable[..., Any]
    version: int = 1
    forward: bool = True


MEAN_LOSS = Observable("mean_loss", "nats per reply token", pa.float64(), lambda logp: -float(logp.mean(dtype=np.float64)))
SUM_LOSS = Observable("sum_loss", "nats per reply", pa.float64(), lambda logp: -float(logp.sum(dtype=np.float64)))
TOKEN_LOGPROBS = Observable("token_logprobs", "nats per reply token", pa.list_(pa.float32()), lambda logp: logp)
TOKENS = Observable("tokens", "tokens", pa.int64(), lambda total, reply: int(total), forward=False)
RESPONSE_TOKENS = Observable("response_tokens", "tokens", pa.int64(), lambda total, reply: int(reply), forward=False)

OBSERVABLES = {o.name: o for o in (MEAN_LOSS, SUM_LOSS, TOKEN_LOGPROBS, TOKENS, RESPONSE_TOKENS)}
