"""Tokens by their scores: over all rows together, or in each row by itself."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curate.errors import InputError

Threshold = Literal["global", "sample"]


def keep_tokens(
    scores: Sequence[ArrayLike], share: float, *, threshold: Threshold = "global", may_be_none: bool = False
) -> list[NDArray[np.bool_]]:
    """Which tokens are kept, a bool [T_i] for each row's scores, float [T_i]; higher is kept first.

    share      of the tokens that is kept, above 0 and at most 1.
    threshold  global: the best floor(share * tokens of all rows), of whichever rows they are. sample: the best
               floor(share * T_i) of each row, which is none for a row of one token.

    Ties go to the earlier row, then to the earlier token, as in a stable sort. Both rules are those of Token Cleaning (arXiv
    2502.01968). Raises InputError for another share, and where no token at all would be kept unless that `may_be_none`;
    ValueError for NaN.
    """
    if not 0 < share <= 1:
        raise InputError(f"the share of tokens to keep must be above 0 and at most 1, not {share:g}")
    if threshold not in ("global", "sample"):
        raise ValueError(f"threshold must be global or sample, not {threshold!r}")
    rows = [np.asarray(values, dtype=np.float64) for values in scores]
    for i, values in enumerate(rows):
        if np.isnan(values).any():
            raise ValueError(f"row {i} has a token without a score")
    total = sum(len(values) for values in rows)
    if threshold == "sample":
        kept = [best(values, share_of(share, len(values))) for values in rows]
    else:
        flat = best(np.concatenate([np.zeros(0), *rows]), share_of(share, total))
        kept = np.split(flat, np.cumsum([len(values) for values in rows])[:-1]) if rows else []
    if not may_be_none and not any(mask.any() for mask in kept):
        raise InputError(f"a share of {share:g} of {total:,} tokens in {len(rows):,} rows leaves no token")
    return kept


def best(scores: NDArray[np.float64], count: int) -> NDArray[np.bool_]:
    """bool [n]: the `count` highest of n scores, ties to the lower index. Linear in n."""
    n = len(scores)
    if not 0 <= count <= n:
        raise ValueError(f"{count} of {n} scores")
    if count == 0:
        return np.zeros(n, dtype=bool)
    last = np.partition(scores, n - count)[n - count]  # the lowest that is kept
    kept = scores > last
    kept[np.flatnonzero(scores == last)[: count - int(kept.sum())]] = True
    return kept


def share_of(share: float, count: int, *, up: bool = False) -> int:
    """floor(share * count), or its ceiling, with the share as it is written: 0.29 of 100 is 29 whatever the floats say."""
    exact = Fraction(str(share)) * count
    return math.ceil(exact) if up else math.floor(exact)
