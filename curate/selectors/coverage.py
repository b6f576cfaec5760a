"""How well a set covers rows: the one function behind facility location, mutual information and conditional gain."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from curate.selectors.kernels import Kernel


class Coverage:
    """f(A) = sum_i max(0, max_{j in A} min(s_ij, cap_i) - covered_i) + sum_{j in A} bonus_j, as an `Objective`.

    kernel   s, [n, m].
    covered  float [n], how well each row is covered before anything is picked; below 0 counts as 0. None: not at all.
    cap      float [n], beyond which a row is not covered better. None: no cap.
    bonus    float [m], what a column brings whatever else is picked. None: nothing.
    alone    float [m], the gain of each column alone, where it is known already.
    """

    def __init__(
        self,
        kernel: Kernel,
        *,
        covered: NDArray | None = None,
        cap: NDArray | None = None,
        bonus: NDArray | None = None,
        alone: NDArray | None = None,
    ) -> None:
        n, m = kernel.shape
        self.kernel, self.cap = kernel, cap
        self.covered = np.zeros(n) if covered is None else np.maximum(np.asarray(covered, dtype=np.float64), 0)
        self.bonus = np.zeros(m) if bonus is None else np.asarray(bonus, dtype=np.float64)
        self._before, self._alone = self.covered.copy(), alone

    def alone(self) -> NDArray[np.float64]:
        """float64 [m]: the gain of each column when nothing is picked. Raises ValueError where the kernel is not finite."""
        if self._alone is None:
            with np.errstate(invalid="ignore"):
                self._alone = self.kernel.gains(self._before, self.cap) + self.bonus
            if not np.isfinite(self._alone).all():
                raise ValueError("the kernel has values that are not finite")
        return self._alone

    def initial_gains(self) -> NDArray[np.float64]:
        """The gains alone, with room for the rounding by which they differ from `gain`."""
        alone = self.alone()
        return alone + self.kernel.rounding * self.kernel.shape[0] + 1e-12 * np.abs(alone)

    def gain(self, j: int) -> float:
        where, values = self.kernel.column(j)
        if self.cap is not None:
            values = np.minimum(values, self.cap[where])
        return float(np.maximum(values - self.covered[where], 0).sum() + self.bonus[j])

    def take(self, j: int) -> None:
        where, values = self.kernel.column(j)
        if self.cap is not None:
            values = np.minimum(values, self.cap[where])
        self.covered[where] = np.maximum(self.covered[where], values)


def objective(coverage: Coverage, picked: Iterable[int]) -> float:
    """f of a set of columns, computed from nothing."""
    best, bonus = np.zeros(coverage.kernel.shape[0]), 0.0
    for j in picked:
        where, values = coverage.kernel.column(j)
        best[where] = np.maximum(best[where], values)
        bonus += float(coverage.bonus[j])
    if coverage.cap is not None:
        best = np.minimum(best, coverage.cap)
    return float(np.maximum(best - coverage._before, 0).sum()) + bonus
