"""How well a set covers rows: the one function behind facility location, mutual information and conditional gain."""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curate.selectors.kernels import Where, as_kernel


class Coverage:
    """f(A) = sum_i max(0, max_{j in A} min(s_ij, cap_i) - covered_i) + sum_{j in A} bonus_j, as an `Objective`.

    kernel   s, [n, m], as `as_kernel` reads it; entries below 0 cover nothing.
    covered  float [n], how well each row is covered before anything is picked; below 0 counts as 0. None: not at all.
    cap      float [n], beyond which a row is not covered better. None: no cap.
    bonus    float [m], what a column brings whatever else is picked. None: nothing.

    With nothing but a kernel it is facility location. Raises ValueError for sizes that differ.
    """

    def __init__(
        self,
        kernel: Any,
        *,
        covered: ArrayLike | None = None,
        cap: ArrayLike | None = None,
        bonus: ArrayLike | None = None,
    ) -> None:
        self.kernel = as_kernel(kernel)
        n, m = self.kernel.shape
        self.cap = None if cap is None else _numbers(cap, n, "row")
        self.bonus = np.zeros(m) if bonus is None else _numbers(bonus, m, "column")
        self.before = np.zeros(n) if covered is None else np.maximum(_numbers(covered, n, "row"), 0)
        self.covered = self.before.copy()  # by what was taken, too
        self._alone: NDArray[np.float64] | None = None

    @classmethod
    def of_target(
        cls, kernel: Any, target: ArrayLike | None, *, eta: float = 1.0, form: Literal["paper", "code"] = "paper"
    ) -> "Coverage":
        """Mutual information with a target in one of its two forms; facility location without one. See `mutual_information`."""
        if form not in ("paper", "code"):
            raise ValueError(f"form must be paper or code, not {form!r}")
        if target is None:
            return cls(kernel)
        weighted = eta * np.asarray(target, dtype=np.float64)
        return cls(kernel, bonus=weighted) if form == "paper" else cls(kernel, cap=weighted)

    @classmethod
    def beyond(cls, kernel: Any, existing: ArrayLike | None, *, nu: float = 1.0) -> "Coverage":
        """Conditional gain given existing data; facility location without any. See `conditional_gain`."""
        return cls(kernel, covered=None if existing is None else nu * np.asarray(existing, dtype=np.float64))

    def anew(self, columns: NDArray[np.int64] | None = None) -> "Coverage":
        """The same function with nothing taken, of these columns only."""
        if columns is None:
            found = Coverage(self.kernel, covered=self.before, cap=self.cap, bonus=self.bonus)
            found._alone = self._alone
            return found
        part = Coverage(self.kernel.only(columns), covered=self.before, cap=self.cap, bonus=self.bonus[columns])
        part._alone = None if self._alone is None else self._alone[columns]
        return part

    def alone(self) -> NDArray[np.float64]:
        """float64 [m]: f of each column alone, computed once. Raises ValueError where the kernel is not finite."""
        if self._alone is None:
            with np.errstate(invalid="ignore"):
                self._alone = self.kernel.gains(self.before, self.cap) + self.bonus
            if not np.isfinite(self._alone).all():
                self._alone = None
                raise ValueError("the kernel has values that are not finite")
        return self._alone

    def initial_gains(self) -> NDArray[np.float64]:
        """The gains alone, with room for the rounding by which they differ from `gain`."""
        alone = self.alone()
        return alone + self.kernel.rounding * self.kernel.shape[0] + 1e-12 * np.abs(alone)

    def gain(self, j: int) -> float:
        where, values = self._column(j)
        more = values - self.covered[where]
        more *= more > self.kernel.rounding  # what is no more than rounding is nothing, so that a copy gains 0
        return float(more.sum() + self.bonus[j])

    def take(self, j: int) -> None:
        where, values = self._column(j)
        self.covered[where] = np.maximum(self.covered[where], values)

    def _column(self, j: int) -> tuple[Where, NDArray[np.float64]]:
        where, values = self.kernel.column(j)
        return where, values if self.cap is None else np.minimum(values, self.cap[where])


def objective(coverage: Coverage, picked: Iterable[int]) -> float:
    """f of a set of columns, computed from nothing."""
    best, bonus = np.zeros(coverage.kernel.shape[0]), 0.0
    for j in picked:
        where, values = coverage.kernel.column(j)
        best[where] = np.maximum(best[where], values)
        bonus += float(coverage.bonus[j])
    if coverage.cap is not None:
        best = np.minimum(best, coverage.cap)
    return float(np.maximum(best - coverage.before, 0).sum()) + bonus


def _numbers(given: ArrayLike, size: int, what: str) -> NDArray[np.float64]:
    numbers = np.asarray(given, dtype=np.float64)
    if numbers.shape != (size,):
        raise ValueError(f"one number per {what} of the kernel is wanted, {size}, not {numbers.shape}")
    return numbers
