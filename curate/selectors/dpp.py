"""Rows that are good and unlike each other: greedy maximisation of a determinant."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curate.budget import Limit
from curate.selectors.greedy_map import Features, greedy_map
from curate.selectors.picks import Picks, take
from curate.selectors.similarity import Similarity

_SPHERE = Similarity("sphere")


def dpp(
    values: NDArray,
    limit: Limit,
    *,
    quality: ArrayLike | None = None,
    theta: float = 0.0,
    similarity: Similarity = _SPHERE,
    null: NDArray[np.bool_] | None = None,
) -> Picks:
    """Greedy MAP picks of a determinantal point process on vectors: many directions, and rows of quality.

    values   float [n, d]; rows that are not finite or have no direction are left out, as are those where `null` [n] is True.
    quality  float [n], at least 0; rows of quality 0 or NaN are left out. theta in [0, 1] weighs it, see `greedy_map`; at 1
             the order is that of quality alone.

    Takes rows until the next would exceed the budget, so a smaller budget gives a prefix of a larger one. When the picks span
    every row that is left (copies, or a kernel of low rank), the rest is filled by quality, else by index, with NaN as gain;
    `shortfall` says how many. Raises ValueError for a theta outside [0, 1], a quality below 0, or sizes that differ.
    Source: arXiv 2402.02318.
    """
    n = limit.costs.size
    if len(values) != n:
        raise ValueError(f"{len(values)} rows for {n} costs")
    if not 0 <= theta <= 1:
        raise ValueError(f"theta must lie between 0 and 1, not {theta}")
    usable = similarity.usable(values) & ~(np.zeros(n, dtype=bool) if null is None else np.asarray(null))
    good = None
    if quality is not None:
        good = np.asarray(quality, dtype=np.float64)
        if good.shape != (n,):
            raise ValueError(f"{good.shape} qualities for {n} costs")
        if (good < 0).any():
            raise ValueError("a quality lies below 0")
        usable &= good > 0
    eligible = np.flatnonzero(usable)
    logs = None if good is None else np.log(good[eligible])
    if logs is not None and theta == 1:
        steps: Iterator[tuple[int, float]] = ((j, float(logs[j])) for j in np.argsort(-logs, kind="stable").tolist())
    else:
        steps = _steps(Features(values[eligible], similarity), logs, theta)
    index, gains, said = take(steps, eligible, limit)
    by = f"filled by {'index' if logs is None else 'quality'}"
    reasons = [f"{by}: the rows before it span it" if np.isnan(gain) else f"gain {gain:.6g}" for gain in gains]
    if filled := int(np.isnan(gains).sum()):
        spanned = f"{filled:,} of the {len(index):,} picks were {by}: the picks before them span every row that is left."
        said = f"{said} {spanned}" if said else spanned
    return Picks(index, gains, [None] * len(index), reasons, n - len(eligible), said)


def _steps(gram: Features, logs: NDArray[np.float64] | None, theta: float) -> Iterator[tuple[int, float]]:
    """Every row and its gain: those of greedy MAP, then the rest, with NaN."""
    left = np.ones(len(gram.diagonal), dtype=bool)
    for j, gain, _ in greedy_map(gram, logs, theta):
        left[j] = False
        yield j, gain
    rest = np.flatnonzero(left)
    for j in (rest if logs is None else rest[np.argsort(-logs[rest], kind="stable")]).tolist():
        yield j, np.nan
