"""Queries that take turns, each taking its best row that is left."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curate.budget import Limit
from curate.selectors.picks import Picks, take

FIRST = 64  # rows that a query's list has at first; it grows when they are used up


def round_robin(matrix: ArrayLike, limit: Limit, *, names: Sequence[str] | None = None) -> Picks:
    """Columns take turns from the first on; in its turn each takes the row of its largest value that nobody took before.

    matrix  float [n, q], of n rows for q queries or tasks; NaN is null there, and a column without a row left misses its turn.
    names   of the columns, for people; by default their numbers from 1.

    Takes rows until the next would exceed the budget, so a smaller budget gives a prefix. Ties go to the lower index. `gain` is
    the value, `stratum` the column. Raises ValueError unless there is one row per cost and one name per column.
    """
    values = np.asarray(matrix)
    if values.ndim != 2 or len(values) != limit.costs.size:
        raise ValueError(f"{values.shape} values for {limit.costs.size} costs")
    called = [str(number) for number in range(1, values.shape[1] + 1)] if names is None else list(names)
    if len(called) != values.shape[1]:
        raise ValueError(f"{len(called)} names for {values.shape[1]} columns")
    eligible = np.flatnonzero(~np.isnan(values).all(axis=1))
    turns: list[int] = []
    index, gain, said = take(_steps(values[eligible], turns), eligible, limit)
    taken = [called[column] for column in turns[: len(index)]]
    reasons = [f"best row left for {name}, {value:.4g}" for name, value in zip(taken, gain.tolist())]
    return Picks(index, gain, list(taken), reasons, len(values) - len(eligible), said)


def _steps(values: NDArray, turns: list[int]) -> Iterator[tuple[int, float]]:
    """(row, value) turn after turn; which column's turn it was goes to `turns`."""
    taken = np.zeros(len(values), dtype=bool)
    queues = [(column, _Queue(values[:, column])) for column in range(values.shape[1])]
    while queues:
        still = []
        for column, queue in queues:
            row = queue.next(taken)
            if row is None:
                continue
            still.append((column, queue))
            taken[row] = True
            turns.append(column)
            yield row, float(values[row, column])
        queues = still


class _Queue:
    """A column's rows, best first, sorted no further than they are asked for."""

    def __init__(self, values: NDArray) -> None:
        self._values, self._at, self._size = values, 0, FIRST
        self._there = int((~np.isnan(values)).sum())
        self._order = best_first(values, self._size)

    def next(self, taken: NDArray[np.bool_]) -> int | None:
        while self._at < self._there:
            if self._at == len(self._order):
                self._size *= 4
                self._order = best_first(self._values, self._size)
            row = int(self._order[self._at])
            self._at += 1
            if not taken[row]:
                return row
        return None


def best_first(values: NDArray, count: int) -> NDArray[np.int64]:
    """Positions of the `count` largest of values [n] and all that equal the last of them, best first; NaN is left out.

    Ties go to the lower position, so a larger count only adds behind.
    """
    there = np.flatnonzero(~np.isnan(values))
    known = values[there]
    if count < len(known):
        enough = known >= np.partition(known, len(known) - count)[len(known) - count]
        there, known = there[enough], known[enough]
    found: NDArray[np.int64] = there[np.argsort(-known, kind="stable")]
    return found
