"""Rows that are good and unlike each other: greedy maximisation of a determinant."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curate.budget import Limit
from curate.selectors.picks import Picks, take
from curate.selectors.similarity import Similarity

SMALLEST = 1e-10  # a row of less variance, given those taken, is spanned by them
HELD = 4096  # rows of which the kernel is held whole: 128 MiB
_CHUNK = 256
_ALIKE = 1e-12  # gains nearer than this are equal: what differs is the rounding of sums
_SPHERE = Similarity("sphere")


class Gram(Protocol):
    """A positive semidefinite kernel [n, n]. diagonal: float64 [n]."""

    diagonal: NDArray[np.float64]

    def row(self, j: int) -> NDArray[np.float64]:
        """float64 [n]: the kernel of j and every row."""
        ...


class Matrix:
    """A kernel that is held: float [n, n]."""

    def __init__(self, values: NDArray) -> None:
        self.values = np.asarray(values, dtype=np.float64)
        self.diagonal = self.values.diagonal().copy()

    def row(self, j: int) -> NDArray[np.float64]:
        return self.values[j]


class Features:
    """The kernel of vectors [n, d] by a similarity, in float64; a row is computed when it is asked for.

    Of `held` rows or fewer it is computed at once, which is faster. The vectors must be usable (`Similarity.usable`).
    """

    def __init__(self, values: NDArray, similarity: Similarity = _SPHERE, *, held: int = HELD) -> None:
        self.features, self.similarity = similarity.features(values), similarity
        self.diagonal = np.ones(len(values))
        self._whole = similarity.between(self.features, self.features) if len(values) <= held else None

    def row(self, j: int) -> NDArray[np.float64]:
        return self.similarity.between(self.features[j], self.features) if self._whole is None else self._whole[j]


def greedy_map(
    gram: Gram, log_quality: NDArray[np.float64] | None = None, theta: float = 0.0
) -> Iterator[tuple[int, float, float]]:
    """Rows in the order of greedy MAP, each with its gain and with its log variance given those before it.

    gain_i = theta log q_i + (1 - theta) log d2_i, where d2_i = det S[A + i] / det S[A] for the rows A taken so far. Without
    quality theta is 0. Ends when every row left has a variance below SMALLEST. Ties go to the lower index.

    d2 is kept up by an incremental Cholesky factor in float64 (Chen, Zhang and Zhou, 2018, arXiv 1709.05135): O(k n) time a step
    and O(k n) memory for k rows taken, and k rows of the kernel. The log variances sum to log det S[A].
    """
    variance = gram.diagonal.copy()
    n = len(variance)
    bonus, weight = (np.zeros(n), 1.0) if log_quality is None else (theta * log_quality, 1 - theta)
    factor: list[NDArray[np.float64]] = []  # of the Cholesky factor some columns each, as rows
    taken = 0
    while True:
        left = variance >= SMALLEST
        if not left.any():
            return
        log_variance = np.log(variance, where=left, out=np.full(n, -np.inf))
        gains = np.where(left, bonus + weight * log_variance, -np.inf)
        highest = gains.max()
        j = int(np.argmax(gains >= highest - _ALIKE * max(1.0, abs(highest))))
        yield j, float(gains[j]), float(log_variance[j])
        if taken % _CHUNK == 0:
            factor.append(np.empty((_CHUNK, n)))
        column = gram.row(j).copy()
        for place, chunk in enumerate(factor):
            known = min(_CHUNK, taken - place * _CHUNK)
            if known:
                column -= chunk[:known, j] @ chunk[:known]
        column /= np.sqrt(variance[j])
        factor[-1][taken % _CHUNK] = column
        variance = np.maximum(variance - column**2, 0)
        variance[j] = 0
        taken += 1


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
    index, gains, said = take(_steps(values[eligible], logs, theta, similarity), eligible, limit)
    by = f"filled by {'index' if logs is None else 'quality'}"
    reasons = [f"{by}: the rows before it span it" if np.isnan(gain) else f"gain {gain:.6g}" for gain in gains]
    if filled := int(np.isnan(gains).sum()):
        spanned = f"{filled:,} of the {len(index):,} picks were {by}: the picks before them span every row that is left."
        said = f"{said} {spanned}" if said else spanned
    return Picks(index, gains, [None] * len(index), reasons, n - len(eligible), said)


def _steps(
    values: NDArray, logs: NDArray[np.float64] | None, theta: float, similarity: Similarity
) -> Iterator[tuple[int, float]]:
    """Every row and its gain: those of greedy MAP, then the rest, with NaN."""
    if logs is not None and theta == 1:
        for j in np.argsort(-logs, kind="stable").tolist():
            yield j, float(logs[j])
        return
    left = np.ones(len(values), dtype=bool)
    for j, gain, _ in greedy_map(Features(values, similarity), logs, theta):
        left[j] = False
        yield j, gain
    rest = np.flatnonzero(left)
    for j in (rest if logs is None else rest[np.argsort(-logs[rest], kind="stable")]).tolist():
        yield j, np.nan
