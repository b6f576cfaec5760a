"""A kernel of few entries: those that are not stored are 0."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK_BYTES = 2**20  # of a part that is worked on at once: it should stay in a core's cache
Where = NDArray[np.integer] | slice
Entries = tuple[NDArray[np.int64], NDArray[np.int32], NDArray]  # per column how many, then their rows and values


class Sparse:
    """A `Kernel` as entries by column; those that are not stored are 0.

    starts [m + 1]: column j has entries starts[j] to starts[j + 1] of rows [e] and values [e].
    """

    def __init__(
        self, starts: NDArray[np.int64], rows: NDArray[np.integer], values: NDArray, n: int, *, rounding: float = 0.0
    ) -> None:
        self.starts, self.rows, self.values, self.rounding = starts, rows, values, rounding
        self.shape = n, len(starts) - 1
        self._by_row: tuple[NDArray, NDArray, NDArray] | None = None  # the same: starts [n + 1], columns [e] and values [e]

    @classmethod
    def of(cls, matrix: Any) -> "Sparse":
        """From a scipy.sparse matrix."""
        values = matrix.tocsc()
        values.sum_duplicates()
        return cls(values.indptr.astype(np.int64), values.indices, values.data, values.shape[0])

    @classmethod
    def joined(cls, parts: Iterable[Entries], shape: tuple[int, int], rounding: float) -> "Sparse":
        """From the entries of all columns in their order, some columns at a time."""
        held = list(parts)
        counts = np.concatenate([count for count, _, _ in held] or [np.empty(0, np.int64)])
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        rows = np.empty(starts[-1], dtype=np.int32)
        values = np.empty(starts[-1], dtype=held[0][2].dtype if held else np.float64)
        last = len(rows)
        while held:  # each is let go of as soon as it is copied
            _, some, of = held.pop()
            rows[last - len(some) : last], values[last - len(some) : last] = some, of
            last -= len(some)
        return cls(starts, rows, values, shape[0], rounding=rounding)

    def column(self, j: int) -> tuple[Where, NDArray[np.float64]]:
        part = slice(*self.starts[j : j + 2])
        return self.rows[part], self.values[part].astype(np.float64)

    def gains(
        self, covered: NDArray[np.float64], cap: NDArray[np.float64] | None, columns: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        if columns is None:
            size = self.shape[1]
            bounds = np.searchsorted(self.starts, np.arange(0, self.starts[-1] + CHUNK_BYTES, CHUNK_BYTES))
            cuts = np.unique(np.concatenate([[0], bounds.clip(0, size), [size]]))
            return np.concatenate(
                [self._sums(slice(a, b), covered, cap) for a, b in zip(cuts.tolist(), cuts[1:].tolist())] or [np.zeros(0)]
            )
        return self._sums(int(columns[0]) if len(columns) == 1 else columns, covered, cap)

    def _sums(
        self, columns: int | slice | NDArray[np.int64], covered: NDArray[np.float64], cap: NDArray[np.float64] | None
    ) -> NDArray[np.float64]:
        """`gains` of some columns, without a copy where they lie together."""
        if isinstance(columns, int):
            columns = slice(columns, columns + 1)
        if isinstance(columns, slice):
            starts = self.starts[columns.start : columns.stop + 1]
            at: Where = slice(int(starts[0]), int(starts[-1]))
            starts = starts - starts[0]
        else:
            at, starts = _places(self.starts, columns)
        where = self.rows[at]
        data = self.values[at].astype(np.float64)
        if cap is not None:
            data = np.minimum(data, cap[where])
        data -= covered[where]
        if self.rounding:
            data *= data > self.rounding
        else:
            np.maximum(data, 0, out=data)
        if len(starts) == 2:
            return data.sum(keepdims=True)
        found = np.add.reduceat(np.append(data, 0.0), starts[:-1])  # the 0: a last column may be empty
        found[starts[1:] == starts[:-1]] = 0
        return found

    def between(
        self, rows: NDArray[np.int64], low: NDArray[np.float64], high: NDArray[np.float64], cap: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.int64] | None, NDArray[np.float64]]:
        starts, columns, values = self._rows()
        at, first = _places(starts, rows)
        counts = np.diff(first)
        found = values[at].astype(np.float64)
        if cap is not None:
            np.minimum(found, np.repeat(cap, counts), out=found)
        found -= np.repeat(low, counts)
        return columns[at], np.clip(found, 0, np.repeat(high - low, counts), out=found)

    def _rows(self) -> tuple[NDArray, NDArray, NDArray]:
        if self._by_row is None:
            from scipy.sparse import csc_matrix  # a third of a second, which `curate methods` need not take

            small = self.starts[-1] < 2**31  # else scipy widens all indices
            starts = self.starts.astype(np.int32) if small else self.starts
            turned = csc_matrix((self.values, self.rows, starts), shape=self.shape).tocsr()
            self._by_row = turned.indptr, turned.indices, turned.data
        return self._by_row

    def above(self, covered: NDArray[np.float64], cap: NDArray[np.float64] | None = None) -> "Sparse":
        kept = np.empty(len(self.values), dtype=bool)
        for first in range(0, len(kept), CHUNK_BYTES):
            part = slice(first, first + CHUNK_BYTES)
            least = covered[self.rows[part]] + self.rounding
            kept[part] = self.values[part] > least
            if cap is not None:
                kept[part] &= cap[self.rows[part]] > least
        counts = np.add.reduceat(np.append(kept, False), self.starts[:-1], dtype=np.int64)
        counts[self.starts[1:] == self.starts[:-1]] = 0
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Sparse(starts, self.rows[kept], self.values[kept], self.shape[0], rounding=self.rounding)

    def narrowed(self, covered: NDArray[np.float64], cap: NDArray[np.float64] | None) -> "Sparse":
        return self.above(covered, cap)

    def best_of_rows(self) -> NDArray[np.float64]:
        found = np.zeros(self.shape[1])
        np.maximum.at(found, self.columns(), self.values)
        return found

    def best_of_columns(self) -> NDArray[np.float64]:
        found = np.zeros(self.shape[0])
        np.maximum.at(found, self.rows, self.values)
        return found

    def columns(self) -> NDArray[np.int64]:
        """The column of each stored entry."""
        return np.repeat(np.arange(self.shape[1]), np.diff(self.starts))

    def only(self, columns: NDArray[np.int64]) -> "Sparse":
        at, starts = _places(self.starts, np.asarray(columns))
        return Sparse(starts, self.rows[at], self.values[at], self.shape[0], rounding=self.rounding)


def _places(starts: NDArray, which: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the entries of some columns (or rows) are, one after the other, and where each begins among them."""
    first = starts[which].astype(np.int64)
    found = np.zeros(len(which) + 1, dtype=np.int64)
    np.cumsum(starts[which + 1] - first, out=found[1:])
    return np.arange(found[-1]) + np.repeat(first - found[:-1], np.diff(found)), found
