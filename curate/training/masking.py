"""Masked thought: part of each reply is hidden from the model while it learns to say all of it.

Source: arXiv 2403.02178. The tokens that the model reads are replaced, the labels are not.
"""

import math
from typing import Any

import numpy as np

from curate.errors import InputError
from curate.training.config import TrainConfig


def masked_thought(ids: np.ndarray, reply: np.ndarray, share: float, mask: int, seed: int, step: int, row: int) -> np.ndarray:
    """What the model reads of a row: [T] like `ids`, each token of the reply (bool [T]) replaced with probability `share`.

    The draw depends on seed, step and row alone, so neither on how a batch is cut up nor on whether the run was resumed. A
    row that occurs twice in one batch is masked alike.
    """
    hidden = reply & (np.random.default_rng([seed, step, row]).random(len(ids)) < share)
    return np.where(hidden, mask, ids)


def masked_share(config: TrainConfig, step: int, steps: int) -> float:
    """The probability in step `step` (0 is the first) of `steps`: it rises linearly, then stays."""
    rising = math.ceil(config.masked_thought_warmup * steps)
    return config.masked_thought * min(1.0, (step + 1) / max(1, rising))


def mask_token(tokenizer: Any) -> int:
    """The id that stands in for a hidden token: the tokenizer's mask token, else its padding, else its unknown token.

    Padding is what the authors propose where there is no mask token. Raises InputError when there is none of the three.
    """
    for name in ("mask_token_id", "pad_token_id", "unk_token_id"):
        found = getattr(tokenizer, name, None)
        if found is not None:
            return int(found)
    raise InputError("masked_thought: the tokenizer has no mask, padding or unknown token to put in place of what is hidden")
