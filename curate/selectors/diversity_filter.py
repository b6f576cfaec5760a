"""Rows by falling score, without those that are too much like a row taken before them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curate.budget import Limit
from curate.selectors.picks import Picks, scores, shortfall
from curate.selectors.similarity import Similarity

ROUNDING = 1e-12  # cosines nearer than this are equal
_BLOCK = 256  # rows that are compared at once, at most
_BLOCK_BYTES = 2**26
_PAIRS = 1024  # that are computed anew at once
_COSINE = Similarity("cosine")


@dataclass(frozen=True, eq=False)
class TooNear:
    """The rows that were left out for one that was taken, in the order in which they came. All fields [m]."""

    left_out: NDArray[np.int64]  # positions
    taken: NDArray[np.int64]  # positions: the nearest of the rows taken before; of those as near, the first
    cosine: NDArray[np.float64]  # of the two, above the threshold


def diversity_filter(
    values: NDArray, by: ArrayLike, limit: Limit, *, threshold: float = 0.9, null: NDArray[np.bool_] | None = None
) -> tuple[Picks, TooNear]:
    """Take rows by falling score, but none whose cosine with a row taken before is above the threshold.

    values     float [n, d]; rows that are not finite or have no direction are left out, as are those where `null` [n] is True.
    by         float [n], the score in any unit; NaN is null and left out. Ties go to the lower index.
    threshold  in [-1, 1]. At 1 all rows are apart, and it is top-k.

    Takes rows until the next would exceed the budget, so a smaller budget gives a prefix of a larger one. Rows behind that one
    are not looked at and in neither answer. `gain` is the score, `reason` the cosine with the nearest row taken before;
    `shortfall` says when too few rows lie apart. Raises ValueError for another threshold, or sizes that differ.

    It is exactly the rule row by row, with cosines in float64 and those within ROUNDING equal: products of blocks in float32 find
    the rows that may be nearest, and their cosines are computed again in float64. O(m k d) time for m rows looked at and k taken.
    Source: arXiv 2312.15685.
    """
    rated = scores(by, limit)
    n = rated.size
    if len(values) != n:
        raise ValueError(f"{len(values)} rows for {n} costs")
    if not -1 <= threshold <= 1:
        raise ValueError(f"threshold must lie between -1 and 1, not {threshold}")
    usable = _COSINE.usable(values) & ~np.isnan(rated) & ~(np.zeros(n, dtype=bool) if null is None else np.asarray(null))
    order = np.argsort(-rated, kind="stable")
    order = order[usable[order]]
    taken, left_out = _Taken(values), _Columns()
    looked, spent = 0, 0.0
    cosines: list[float] = []
    while looked < len(order) and limit.capacity:
        block = _Block(taken, order[looked : looked + taken.block], threshold)
        costs = spent + np.cumsum(np.where(block.apart, limit.costs[block.rows], 0.0))
        over = costs > limit.capacity
        within = int(over.argmax()) if over.any() else len(over)
        keep = block.apart[:within]
        left_out.add(block.rows[:within][~keep], block.nearest[:within][~keep], block.cosine[:within][~keep])
        cosines += block.cosine[:within][keep].tolist()
        taken.add(block.rows[:within][keep], block.units[:within][keep])
        looked, spent = looked + within, float(costs[-1])
        if over.any():
            break
    picked = taken.rows
    said = shortfall(picked, order[looked:] if looked < len(order) and not picked.size else order, limit)
    if looked == len(order) and picked.size < len(order) and spent < limit.capacity:
        said = (
            f"The budget allows {limit.capacity:,.0f} {limit.unit}, but of {len(order):,} rows only {picked.size:,} lie apart: "
            f"{len(order) - picked.size:,} have a cosine above {threshold:g} with one of them."
        )
    reasons = [
        f"cosine {cosine:.3f} with the nearest row before it" if i else "the highest score" for i, cosine in enumerate(cosines)
    ]
    return Picks(picked, rated[picked], [None] * picked.size, reasons, n - order.size, said), left_out.whole()


class _Taken:
    """The rows that were taken, and their unit vectors in float32."""

    def __init__(self, values: NDArray) -> None:
        self.values, self.count = values, 0
        self._rows = np.empty(_BLOCK, dtype=np.int64)
        self._units = np.empty((_BLOCK, values.shape[1]), dtype=np.float32)

    @property
    def rows(self) -> NDArray[np.int64]:
        return self._rows[: self.count]

    @property
    def units(self) -> NDArray[np.float32]:
        return self._units[: self.count]

    @property
    def block(self) -> int:
        """How many rows to compare with them at once."""
        return min(_BLOCK, max(1, _BLOCK_BYTES // (4 * max(1, self.count))))

    def add(self, rows: NDArray[np.int64], units: NDArray[np.float64]) -> None:
        last = self.count + len(rows)
        if last > len(self._rows):
            more = max(last, 2 * len(self._rows)) - self.count
            self._rows = np.concatenate([self.rows, np.empty(more, dtype=np.int64)])
            self._units = np.concatenate([self.units, np.empty((more, self._units.shape[1]), dtype=np.float32)])
        self._rows[self.count : last], self._units[self.count : last] = rows, units
        self.count = last

    def nearest(self, units: NDArray[np.float64], threshold: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(position, cosine) of the nearest of them; exact where it is above the threshold, else only to float32. -1: none."""
        near, cosine = np.full(len(units), -1), np.full(len(units), -np.inf)
        if not self.count:
            return near, cosine
        found = units.astype(np.float32) @ self.units.T
        highest = found.max(axis=1)
        cosine[:] = highest
        error = np.float32(
            (units.shape[1] + 8) * 2.0**-24
        )  # of a product of unit vectors in float32, whatever the order of its sum
        some = np.flatnonzero(highest > threshold - 2 * error)
        lowest = np.full(len(units), np.inf, dtype=np.float32)
        lowest[some] = highest[some] - 2 * error
        at, column = np.nonzero(found >= lowest[:, None])
        exact = np.empty(len(at))
        for first in range(0, len(at), _PAIRS):
            part = slice(first, first + _PAIRS)
            others = _COSINE.features(self.values[self.rows[column[part]]])
            exact[part] = np.einsum("ij,ij->i", units[at[part]], others)
        best = np.full(len(units), -np.inf)
        np.maximum.at(best, at, exact)
        first_of = exact >= best[at] - ROUNDING
        at, column = at[first_of][::-1], column[first_of][::-1]
        near[at], cosine[some] = self.rows[column], best[some]  # of several the last written, which is the first taken
        return near, cosine


class _Block:
    """Some rows that follow on those taken, in their order.

    apart    bool [b]: which of them are to be taken.
    nearest  int64 [b]: of the rows taken before each the nearest; cosine float64 [b]: with it. Exact for those not apart.
    """

    def __init__(self, taken: _Taken, rows: NDArray[np.int64], threshold: float) -> None:
        self.rows, self.units = rows, _COSINE.features(taken.values[rows])
        self.nearest, self.cosine = taken.nearest(self.units, threshold)
        inside = self.units @ self.units.T
        clash = inside > threshold + ROUNDING
        self.apart = self.cosine <= threshold + ROUNDING
        for i in range(len(rows)):
            if self.apart[i]:
                self.apart[i + 1 :] &= ~clash[i, i + 1 :]
        inside = np.where(np.tri(len(rows), k=-1, dtype=bool) & self.apart, inside, -np.inf)
        highest = inside.max(axis=1)
        nearer = highest > self.cosine + ROUNDING
        first = (inside >= (highest - ROUNDING)[:, None]).argmax(axis=1)
        self.nearest[nearer], self.cosine[nearer] = rows[first[nearer]], highest[nearer]


class _Columns:
    """Rows that were left out, as they are found."""

    def __init__(self) -> None:
        self._parts: list[tuple[NDArray, NDArray, NDArray]] = []

    def add(self, left_out: NDArray, taken: NDArray, cosine: NDArray) -> None:
        self._parts.append((left_out, taken, cosine))

    def whole(self) -> TooNear:
        empty = (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0))
        return TooNear(*(np.concatenate(column) for column in zip(empty, *self._parts)))
