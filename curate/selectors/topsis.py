"""TOPSIS: several criteria as one number, by nearness to the best of all and distance from the worst."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def topsis(criteria: ArrayLike, larger: Sequence[bool], *, clip: float = 0.0) -> NDArray[np.float64]:
    """The closeness of each row to the ideal, float64 [n] from 0 to 1; NaN where a criterion is NaN.

    `criteria` [n, m]: each is divided by its Euclidean length over the rows, so units do not matter. The ideal has the best
    value of every criterion, the anti-ideal the worst: closeness = d_worst / (d_best + d_worst), 0.5 where all rows are alike.
    `larger`: for each criterion whether more of it is better. `clip`: values beyond this quantile, at either end, count as it.
    Source: Hwang and Yoon, 1981. ValueError for criteria that do not fit `larger`, or a clip outside [0, 0.5).
    """
    values = np.asarray(criteria, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(larger):
        raise ValueError(f"criteria must be [n, {len(larger)}], not {values.shape}")
    if not 0 <= clip < 0.5:
        raise ValueError(f"clip must be at least 0 and below 0.5, not {clip}")
    closeness = np.full(len(values), np.nan)
    there = ~np.isnan(values).any(axis=1)
    if not there.any():
        return closeness
    found = values[there]
    if clip:
        found = np.clip(found, *np.quantile(found, [clip, 1 - clip], axis=0))
    length = np.linalg.norm(found, axis=0)
    found = np.where(larger, 1.0, -1.0) * found / np.where(length > 0, length, 1.0)
    best, worst = (np.linalg.norm(found - end(found, axis=0), axis=1) for end in (np.max, np.min))
    both = best + worst
    closeness[there] = np.divide(worst, both, out=np.full(len(found), 0.5), where=both > 0)
    return closeness
