"""Kernels for selectors that cover rows by rows: an array, a sparse matrix (sparse.py), or vectors (vector_kernel.py).

A kernel is [n, m]: row i is what is represented, column j what can be picked, and the entry says how well j represents i. It
need not be symmetric.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from curate.selectors.sparse import CHUNK_BYTES, Entries, Sparse, Where
from curate.selectors.threads import spread, threads

BLOCK_BYTES = 2**25  # of a part of the kernel that is computed at once
SPARSE = 0.006  # a kernel with no larger part above what is covered goes on as a sparse one


class Kernel(Protocol):
    """shape: (n, m). rounding: how far equal entries may lie apart, as computed by `column` and by the other functions."""

    shape: tuple[int, int]
    rounding: float

    def column(self, j: int) -> tuple[Where, NDArray[np.float64]]:
        """The rows that j represents (positions, or a slice of all) and how well; the others have 0."""
        ...

    def gains(
        self, covered: NDArray[np.float64], cap: NDArray[np.float64] | None, columns: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        """float64 [c]: sum over i of max(0, min(s_ij, cap_i) - covered_i), for these columns j or all.

        covered [n] at least 0; cap [n] or no cap. What is no more than rounding counts as 0, so that a copy gains nothing.
        """
        ...

    def between(
        self, rows: NDArray[np.int64], low: NDArray[np.float64], high: NDArray[np.float64], cap: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.int64] | None, NDArray[np.float64]]:
        """Of each entry s_ij of some rows the part min(max(s_ij, low_i), high_i) - low_i, summed by column.

        low, high [r] with 0 <= low < high <= cap, cap [r] or no cap. (None, float64 [m]), or columns, which may come several
        times, and numbers that are to be added up for each.
        """
        ...

    def above(self, covered: NDArray[np.float64], cap: NDArray[np.float64] | None = None) -> "Sparse":
        """The entries with min(s_ij, cap_i) > covered_i + rounding, which alone can gain anything from now on."""
        ...

    def narrowed(self, covered: NDArray[np.float64], cap: NDArray[np.float64] | None) -> "Kernel":
        """`above` where that is the faster one, else the kernel itself."""
        ...

    def best_of_rows(self) -> NDArray[np.float64]:
        """float64 [m]: the largest entry of each column, at least 0."""
        ...

    def best_of_columns(self) -> NDArray[np.float64]:
        """float64 [n]: the largest entry of each row, at least 0."""
        ...

    def only(self, columns: NDArray[np.int64]) -> "Kernel":
        """The kernel of these columns."""
        ...


def as_kernel(given: Any) -> Kernel:
    """A kernel from an array [n, m], a scipy.sparse matrix (missing entries are 0), or a kernel as it is."""
    if hasattr(given, "tocsc"):
        return Sparse.of(given)
    return Dense(np.asarray(given)) if isinstance(given, (np.ndarray, list)) else given


class Blocks:
    """A kernel that is worked off some columns at a time."""

    shape: tuple[int, int]
    rounding: float
    block: int  # columns at once

    def _part(self, columns: NDArray[np.int64] | slice) -> NDArray:
        """Floats [c, n], its own copy: some columns as rows."""
        raise NotImplementedError

    def _parts(self, columns: NDArray[np.int64] | None = None) -> Iterator[tuple[slice, NDArray]]:
        for where in self._slices(columns):
            yield where, self._part(where if columns is None else columns[where])

    def _slices(self, columns: NDArray[np.int64] | None) -> Iterator[slice]:
        size = self.shape[1] if columns is None else len(columns)
        return (slice(first, min(first + self.block, size)) for first in range(0, size, self.block))

    def gains(
        self, covered: NDArray[np.float64], cap: NDArray[np.float64] | None, columns: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        found = np.zeros(self.shape[1] if columns is None else len(columns))
        for where, part in self._parts(columns):
            found[where] = excess(part, covered.astype(part.dtype), in_precision_of(cap, part), self.rounding)
        return found

    def above(self, covered: NDArray[np.float64], cap: NDArray[np.float64] | None = None) -> "Sparse":
        parts = (
            entries(part, covered.astype(part.dtype), in_precision_of(cap, part), self.rounding) for _, part in self._parts()
        )
        return Sparse.joined(parts, self.shape, self.rounding)

    def narrowed(self, covered: NDArray[np.float64], cap: NDArray[np.float64] | None) -> "Kernel":
        some = self._part(np.unique(np.linspace(0, self.shape[1] - 1, 64).astype(np.int64)))
        part = len(entries(some, covered.astype(some.dtype), in_precision_of(cap, some), self.rounding)[1]) / max(1, some.size)
        return self.above(covered, cap) if part <= SPARSE else self  # type: ignore[return-value]

    def best_of_rows(self) -> NDArray[np.float64]:
        found = np.zeros(self.shape[1])
        for where, part in self._parts():
            found[where] = part.max(axis=1, initial=0)
        return found

    def best_of_columns(self) -> NDArray[np.float64]:
        found = np.zeros(self.shape[0])
        for _, part in self._parts():
            np.maximum(found, part.max(axis=0), out=found)
        return found


def in_precision_of(numbers: NDArray | None, part: NDArray) -> NDArray | None:
    """Numbers as floats of the kind that part has; None stays None."""
    return None if numbers is None else numbers.astype(part.dtype)


def excess(part: NDArray, covered: NDArray, cap: NDArray | None, rounding: float) -> NDArray:
    """[c]: sum of what of part [c, n] lies above covered [n]. Changes `part`."""
    if cap is not None:
        np.minimum(part, cap, out=part)
    part -= covered
    return positive(part, rounding)


def positive(part: NDArray, rounding: float) -> NDArray:
    """[c]: sums of what of part [c, n] is above 0. Where it may be of nothing but rounding, what is no more than that is 0."""
    np.maximum(part, 0, out=part)
    found = part.sum(axis=1)
    for i in np.flatnonzero(found <= 2 * rounding * part.shape[1]) if rounding else ():
        found[i] = part[i][part[i] > rounding].sum()
    return found


def between(
    values: NDArray, rows: NDArray[np.int64], low: NDArray[np.float64], high: NDArray[np.float64], cap: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """float64 [m]: `Kernel.between` for an array [n, m], a few rows at a time, some by each thread."""
    step = columns_at_once(values.shape[1], values.itemsize, CHUNK_BYTES)
    limits = [low, high - low] if cap is None else [low, high - low, cap]
    limits = [limit.astype(values.dtype)[:, None] for limit in limits]

    def work(share: slice) -> NDArray[np.float64]:
        found = np.zeros(values.shape[1])
        for first in range(share.start, share.stop, step):
            at = slice(first, min(first + step, share.stop))
            part, least, most = values[rows[at]], limits[0][at], limits[1][at]
            if cap is not None:
                np.minimum(part, limits[2][at], out=part)
            part -= least
            found += np.clip(part, 0, most, out=part).sum(axis=0)
        return found

    each = max(step, -(-len(rows) // threads()))
    shares = [slice(first, min(first + each, len(rows))) for first in range(0, len(rows), each)]
    return sum(spread(work, shares), np.zeros(values.shape[1]))


def entries(part: NDArray, covered: NDArray, cap: NDArray | None, rounding: float) -> Entries:
    """The entries of part [c, n] that lie above covered [n]: per row of it how many, then their places and values."""
    kept = part > covered + part.dtype.type(rounding)
    if cap is not None:
        kept &= cap > covered + rounding
    flat = np.flatnonzero(kept)
    counts = np.diff(np.searchsorted(flat, np.arange(len(part) + 1) * part.shape[1]))
    return counts, (flat % part.shape[1]).astype(np.int32), part.reshape(-1)[flat]


def columns_at_once(n: int, itemsize: int = 8, size: int = BLOCK_BYTES) -> int:
    """How many columns of n entries take no more than `size` bytes, at least 1."""
    return max(1, size // (itemsize * max(1, n)))


class Dense(Blocks):
    """An array [n, m] of floats. In Fortran order its columns are read fastest."""

    rounding = 0.0

    def __init__(self, values: NDArray) -> None:
        if values.ndim != 2:
            raise ValueError(f"a kernel has two dimensions, not {values.ndim}")
        self.values, self.shape, self.block = values, values.shape, columns_at_once(values.shape[0])

    def column(self, j: int) -> tuple[Where, NDArray[np.float64]]:
        return slice(None), self.values[:, j].astype(np.float64)

    def _part(self, columns: NDArray[np.int64] | slice) -> NDArray[np.float64]:
        return np.array(self.values[:, columns].T, dtype=np.float64, order="C")

    def between(
        self, rows: NDArray[np.int64], low: NDArray[np.float64], high: NDArray[np.float64], cap: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.int64] | None, NDArray[np.float64]]:
        return None, between(self.values, rows, low, high, cap)

    def only(self, columns: NDArray[np.int64]) -> "Dense":
        return Dense(self.values[:, columns])
