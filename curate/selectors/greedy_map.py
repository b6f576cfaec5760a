"""Greedy maximisation of a determinant: rows in the order in which each adds most volume to those before it."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from curate.selectors.cholesky import Gram, LazyFactor
from curate.selectors.similarity import Similarity

SMALLEST = 1e-10  # a row of less variance, given those taken, is spanned by them
_ALIKE = 1e-12  # gains nearer than this are equal: what differs is the rounding of sums
_MOST = 1024  # rows that are brought up to date at once
_HOT = 512  # rows among which picks are made, at most
_WIDTH = 64  # picks that are made among them, at most


class Features:
    """The kernel of vectors [n, d] by a similarity, in float64; a block is computed when it is asked for.

    The vectors must be usable (`Similarity.usable`).
    """

    def __init__(self, values: NDArray, similarity: Similarity) -> None:
        self.features, self.similarity, self.diagonal = similarity.features(values), similarity, np.ones(len(values))

    def block(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        return self.similarity.between(self.features[rows], self.features[columns])


def greedy_map(
    gram: Gram, log_quality: NDArray[np.float64] | None = None, theta: float = 0.0
) -> Iterator[tuple[int, float, float]]:
    """Rows in the order of greedy MAP, each with its gain and with its log variance given those before it.

    gain_i = theta log q_i + (1 - theta) log d2_i, where d2_i = det S[A + i] / det S[A] for the rows A taken so far. Without
    quality theta is 0. Ends when every row left has a variance below SMALLEST. Ties go to the lower index.

    d2 comes from an incremental Cholesky factor in float64 (Chen, Zhang and Zhou, 2018, arXiv 1709.05135), kept up lazily (Hemmi
    et al., 2022): d2 only falls, so an old gain bounds that of now. Rows whose bound lies within what the next picks are expected
    to lose are brought up to date together; the best of them, the hot rows, are kept up at every pick, until a row that is not
    hot could lead. The order is that of keeping up every row. At most about O(k n d + k^2 n) time and 8 k n bytes for k rows
    taken, in products of matrices; how far below depends on the data. The log variances sum to log det S[A].
    """
    bounds = _Bounds(LazyFactor(gram), log_quality, theta)
    while bounds.refresh():
        hot, outside = bounds.hot()
        yield from bounds.picks_among(hot, outside)


class _Bounds:
    """Upper bounds of all gains.

    bounds  float64 [n], -inf for rows that are taken or spanned.
    last    the gain of the pick before; fall: how far gains are expected to fall over the next `width` picks.
    """

    def __init__(self, factor: LazyFactor, log_quality: NDArray[np.float64] | None, theta: float) -> None:
        n = len(factor.known)
        self.factor = factor
        self.bonus, self.weight = (np.zeros(n), 1.0) if log_quality is None else (theta * log_quality, 1 - theta)
        self.bounds = self._gains(np.arange(n), factor.variance)
        self.last, self.fall, self.width = np.inf, 0.0, _WIDTH

    def _gains(self, rows: NDArray[np.int64], variance: NDArray[np.float64]) -> NDArray[np.float64]:
        left = variance >= SMALLEST
        logs = np.log(variance, where=left, out=np.zeros(len(rows)))
        return np.where(left, self.bonus[rows] + self.weight * logs, -np.inf)

    def refresh(self) -> bool:
        """Bring rows up to date until one that is leads all bounds; False when every row left is spanned."""
        floor = self.last - self.fall
        while True:
            rows = np.flatnonzero(self.bounds > -np.inf)
            if not len(rows):
                return False
            bounds = self.bounds[rows]
            if not np.isfinite(floor):
                place = max(0, len(rows) - _HOT)
                floor = float(np.partition(bounds, place)[place])
            floor = min(floor, _near(bounds.max()))
            stale = rows[(bounds >= floor) & (self.factor.known[rows] < self.factor.taken)]
            stale = stale[np.argsort(self.factor.known[stale], kind="stable")]
            for first in range(0, len(stale), _MOST):
                some = stale[first : first + _MOST]
                self.factor.update(some)
                self.bounds[some] = self._gains(some, self.factor.variance[some])
            if _near(self.bounds.max()) >= floor:
                return True
            floor = np.inf

    def hot(self) -> tuple[NDArray[np.int64], float]:
        """(rows that are up to date and have the highest bounds, ascending; the highest bound of any other)."""
        fresh = np.flatnonzero((self.bounds > -np.inf) & (self.factor.known == self.factor.taken))
        lead = fresh[self.bounds[fresh] >= _near(self.bounds.max())]
        if len(lead) > _HOT:  # equal ones go by their index, one by one
            return lead[:1], np.inf
        if len(fresh) > _HOT:
            fresh = np.sort(fresh[np.argpartition(-self.bounds[fresh], _HOT - 1)[:_HOT]])
        others = np.ones(len(self.bounds), dtype=bool)
        others[fresh] = False
        return fresh, float(self.bounds[others].max(initial=-np.inf))

    def picks_among(self, hot: NDArray[np.int64], outside: float) -> Iterator[tuple[int, float, float]]:
        """The next picks, with gain and log variance, while they are surely hot rows, whose variances are kept up."""
        base = self.factor.entries(hot)
        variance = self.factor.variance[hot]
        columns = np.empty((_WIDTH, len(hot)))
        gains, first = self.bounds[hot], 0.0
        places: list[int] = []
        while len(places) < _WIDTH and (_near(gains.max()) > outside or (len(hot) == 1 and not places)):
            t, place = len(places), int(np.argmax(gains >= _near(gains.max())))
            self.last = float(gains[place])
            first = first if places else self.last
            yield int(hot[place]), self.last, float(np.log(variance[place]))
            kernel = self.factor.gram.block(hot[[place]], hot)[0]
            columns[t] = (kernel - base @ base[place] - columns[:t, place] @ columns[:t]) / np.sqrt(variance[place])
            places.append(place)
            variance = np.maximum(variance - columns[t] ** 2, 0)
            variance[places] = 0
            gains = self._gains(hot, variance)
        best = max(float(gains.max()), outside if np.isfinite(outside) else self.last)
        self.fall = (first - best) * min(2.0, _WIDTH / max(1, len(places)))
        self.factor.take(hot, places, columns[: len(places)])
        self.bounds[hot] = gains


def _near(highest: float) -> float:
    """The least gain that is equal to the highest."""
    return float(highest - _ALIKE * max(1.0, abs(highest))) if np.isfinite(highest) else highest
