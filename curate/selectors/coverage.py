"""How well a set covers rows: the one function behind facility location, mutual information and conditional gain."""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curate.selectors.kernels import Kernel, as_kernel
from curate.selectors.vector_kernel import Vectors

FIRST = 16  # picks, after which a kernel is narrowed to what can still gain, if that is little
ROWS = 2**14  # on which a column's gain alone is estimated


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
        self._now, self._taken = self.kernel, 0  # what can still gain, of how many taken
        self.known: tuple[Kernel, NDArray[np.float64]] = self.kernel, self.before  # all entries above these numbers
        self._alone: NDArray[np.float64] | None = None
        self._gains: NDArray[np.float64] | None = None  # of all columns now, where they are followed

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
        """float64 [m]: f of each column alone, computed once; an estimate where `sampled`.

        Raises ValueError where the kernel is not finite.
        """
        if self._alone is None:
            with np.errstate(invalid="ignore"):
                self._alone = self._gains_alone() + self.bonus
            if not np.isfinite(self._alone).all():
                self._alone = None
                raise ValueError("the kernel has values that are not finite")
        return self._alone

    @property
    def sampled(self) -> bool:
        """Whether `alone` is estimated on evenly spaced rows, as it is where the kernel cannot be held."""
        return isinstance(self.kernel, Vectors) and not self.kernel.fits and self.kernel.shape[0] > ROWS

    def _gains_alone(self) -> NDArray[np.float64]:
        if not self.sampled:
            return self.kernel.gains(self.before, self.cap)
        assert isinstance(self.kernel, Vectors)
        n = self.kernel.shape[0]
        rows = np.arange(ROWS, dtype=np.int64) * n // ROWS
        cap = None if self.cap is None else self.cap[rows]
        return self.kernel.part(rows, None).gains(self.before[rows], cap) * (n / ROWS)

    def initial_gains(self) -> NDArray[np.float64]:
        """The gains alone, with room for the rounding by which they may differ from `gains`."""
        alone = self.alone()
        return alone + self.kernel.rounding * self.kernel.shape[0] + 1e-12 * np.abs(alone)

    def follow(self) -> NDArray[np.float64]:
        self._gains = self.alone().copy() if not self._taken else self._now.gains(self.covered, self.cap) + self.bonus
        return self._gains

    def gains(self, columns: NDArray[np.int64]) -> NDArray[np.float64]:
        return self._now.gains(self.covered, self.cap, columns) + self.bonus[columns]

    def take(self, j: int) -> NDArray[np.int64] | None:
        """Add j. What is covered only grows, so entries below it are left behind for good, as soon as most of them are."""
        where, values = self._now.column(j)
        capped = values if self.cap is None else np.minimum(values, self.cap[where])
        better = np.flatnonzero(capped > self.covered[where])
        rows, after = better if isinstance(where, slice) else where[better].astype(np.int64), capped[better]
        before = self.covered[rows]
        self.covered[rows] = after
        self._taken += 1
        changed: NDArray[np.int64] | None = np.empty(0, dtype=np.int64)
        if self._gains is not None:
            changed = self._fall(rows, before, after, self._gains)
        if self._taken >= FIRST and self._taken & (self._taken - 1) == 0:  # half of them, each time as many are taken again
            self._now = self._now.narrowed(self.covered, self.cap)
            if self.known[0] is self.kernel and self._now is not self.kernel:
                self.known = self._now, self.covered.copy()
            if self._gains is not None and self._now is not self.kernel:  # what rounding has added up to is gone
                self._gains[:] = self._now.gains(self.covered, self.cap) + self.bonus
                changed = None
        return changed

    def _fall(
        self, rows: NDArray[np.int64], before: NDArray[np.float64], after: NDArray[np.float64], gains: NDArray[np.float64]
    ) -> NDArray[np.int64] | None:
        """Take from the gains of columns what they could have covered of rows between `before` and `after`."""
        cap = None if self.cap is None else self.cap[rows]
        columns, less = self._now.between(rows, before, after, cap)
        if columns is None:
            np.maximum(gains - less, self.bonus, out=gains)  # a copy gains nothing, not a little less than that
        else:
            np.subtract.at(gains, columns, less)
            gains[columns] = np.maximum(gains[columns], self.bonus[columns])
        return columns

    def value(self) -> float:
        """f of what was taken, but for bonuses."""
        return float((self.covered - self.before).sum())


def objective(coverage: Coverage, picked: Iterable[int]) -> float:
    """f of a set of columns, computed from nothing."""
    columns = np.array(list(picked), dtype=np.int64)
    best = coverage.kernel.only(columns).best_of_columns()
    if coverage.cap is not None:
        best = np.minimum(best, coverage.cap)
    return float(np.maximum(best - coverage.before, 0).sum() + coverage.bonus[columns].sum())


def _numbers(given: ArrayLike, size: int, what: str) -> NDArray[np.float64]:
    numbers = np.asarray(given, dtype=np.float64)
    if numbers.shape != (size,):
        raise ValueError(f"one number per {what} of the kernel is wanted, {size}, not {numbers.shape}")
    return numbers
