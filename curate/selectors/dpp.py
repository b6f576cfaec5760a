"""Rows that are good and unlike each other: greedy maximisation of a determinant."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curate.budget import Limit
from curate.selectors.cholesky import Gram, LazyFactor
from curate.selectors.picks import Picks, take
from curate.selectors.similarity import Similarity

SMALLEST = 1e-10  # a row of less variance, given those taken, is spanned by them
_ALIKE = 1e-12  # gains nearer than this are equal: what differs is the rounding of sums
_FEWEST, _MOST = 8, 512  # rows that are brought up to date at once
_HOT = 4 * _MOST  # rows that are looked through at each step
_SPHERE = Similarity("sphere")


class Features:
    """The kernel of vectors [n, d] by a similarity, in float64; a block is computed when it is asked for.

    The vectors must be usable (`Similarity.usable`).
    """

    def __init__(self, values: NDArray, similarity: Similarity = _SPHERE) -> None:
        self.features, self.similarity, self.diagonal = similarity.features(values), similarity, np.ones(len(values))

    def block(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        return self.similarity.between(self.features[rows], self.features[columns])


def greedy_map(
    gram: Gram, log_quality: NDArray[np.float64] | None = None, theta: float = 0.0
) -> Iterator[tuple[int, float, float]]:
    """Rows in the order of greedy MAP, each with its gain and with its log variance given those before it.

    gain_i = theta log q_i + (1 - theta) log d2_i, where d2_i = det S[A + i] / det S[A] for the rows A taken so far. Without
    quality theta is 0. Ends when every row left has a variance below SMALLEST. Ties go to the lower index.

    d2 is kept up by an incremental Cholesky factor in float64 (Chen, Zhang and Zhou, 2018, arXiv 1709.05135), lazily (Hemmi et
    al., 2022): d2 only falls, so an old gain bounds that of now, and only rows whose bound leads are brought up to date. The order
    is that of bringing all up to date at every step. At most O(k n d + k^2 n) time and 8 k n bytes for k rows taken; how far below
    depends on the data. The log variances sum to log det S[A].
    """
    n = len(gram.diagonal)
    bonus, weight = (np.zeros(n), 1.0) if log_quality is None else (theta * log_quality, 1 - theta)
    leaders = _Leaders(LazyFactor(gram), bonus, weight)
    while (j := leaders.best()) is not None:
        yield j, float(leaders.bounds[j]), float(np.log(leaders.factor.variance[j]))
        leaders.take(j)


class _Leaders:
    """Upper bounds of all gains, and the rows that may lead them.

    bounds  float64 [n], -inf for rows that are taken or spanned. Rows that are not `hot` have bounds below `cut`.
    """

    def __init__(self, factor: LazyFactor, bonus: NDArray[np.float64], weight: float) -> None:
        self.factor, self.bonus, self.weight = factor, bonus, weight
        self.bounds = np.empty(len(bonus))
        self._bound(np.arange(len(bonus)))
        self.hot, self.cut, self.size = np.arange(0), np.inf, _FEWEST

    def best(self) -> int | None:
        """The row of the largest gain; None when every row left is spanned."""
        size, updated = self.size, 0
        while True:
            bounds = self.bounds[self.hot]
            near = _near(bounds.max(initial=-np.inf))
            if near < self.cut:
                if not self._look_again():
                    return None
                continue
            stale = self.factor.known[self.hot] < self.factor.taken
            lead = bounds >= near
            if not (lead & stale).any():
                self.size = max(_FEWEST, updated // 2)
                return int(self.hot[lead].min())
            some = np.flatnonzero(stale & (bounds >= bounds[~stale].max(initial=np.finfo(float).min)))
            if len(some) > size:
                some = some[np.argpartition(-bounds[some], size - 1)[:size]]
            rows = self.hot[some]
            self.factor.update(rows)
            self._bound(rows)
            size, updated = min(2 * size, _MOST), updated + len(rows)

    def take(self, j: int) -> None:
        self.factor.take(j)
        self.bounds[j] = -np.inf

    def _bound(self, rows: NDArray[np.int64]) -> None:
        variance = self.factor.variance[rows]
        left = variance >= SMALLEST
        logs = np.log(variance, where=left, out=np.zeros(len(rows)))
        self.bounds[rows] = np.where(left, self.bonus[rows] + self.weight * logs, -np.inf)

    def _look_again(self) -> bool:
        """Find the hot rows anew; False when there are none."""
        rows = np.flatnonzero(self.bounds > -np.inf)
        bounds = self.bounds[rows]
        self.cut = -np.finfo(float).max
        if len(rows) > _HOT:
            self.cut = min(float(np.partition(bounds, len(rows) - _HOT)[len(rows) - _HOT]), _near(bounds.max()))
        self.hot = rows[bounds >= self.cut]
        return len(rows) > 0


def _near(highest: float) -> float:
    """The least gain that is equal to the highest."""
    return float(highest - _ALIKE * max(1.0, abs(highest))) if np.isfinite(highest) else highest


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
