"""Kernels for selectors that cover rows by rows: an array, a sparse matrix, or vectors, whose kernel is held where it is small.

A kernel is [n, m]: row i is what is represented, column j what can be picked, and the entry says how well j represents i. It
need not be symmetric.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from curate.selectors.similarity import Similarity
from curate.selectors.threads import spread, threads

BLOCK_BYTES = 2**25  # of a part of the kernel that is computed at once
CHUNK_BYTES = 2**20  # of a part that is worked on at once: it should stay in a core's cache
EXACT_BYTES = 2**27  # a kernel of no more is computed in float64
HELD_BYTES = 1_700_000_000  # a kernel of no more is held, in float32
TILE, TILE_BYTES = 1024, 2**25  # columns of a tile, and its size
SPARSE = 0.006  # a kernel with no larger part above what is covered goes on as a sparse one
COSINE = Similarity("cosine")
Where = NDArray[np.integer] | slice
Part = tuple[NDArray[np.int64], NDArray[np.int64] | None]
Entries = tuple[NDArray[np.int64], NDArray[np.int32], NDArray]  # per column how many, then their rows and values


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


class _Blocks:
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
            found[where] = _excess(part, covered.astype(part.dtype), _like(cap, part), self.rounding)
        return found

    def above(self, covered: NDArray[np.float64], cap: NDArray[np.float64] | None = None) -> "Sparse":
        parts = (_entries(part, covered.astype(part.dtype), _like(cap, part), self.rounding) for _, part in self._parts())
        return Sparse.joined(parts, self.shape, self.rounding)

    def narrowed(self, covered: NDArray[np.float64], cap: NDArray[np.float64] | None) -> "Kernel":
        some = self._part(np.unique(np.linspace(0, self.shape[1] - 1, 64).astype(np.int64)))
        part = len(_entries(some, covered.astype(some.dtype), _like(cap, some), self.rounding)[1]) / max(1, some.size)
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


def _like(numbers: NDArray | None, part: NDArray) -> NDArray | None:
    return None if numbers is None else numbers.astype(part.dtype)


def _excess(part: NDArray, covered: NDArray, cap: NDArray | None, rounding: float) -> NDArray:
    """[c]: sum of what of part [c, n] lies above covered [n]. Changes `part`."""
    if cap is not None:
        np.minimum(part, cap, out=part)
    part -= covered
    return _positive(part, rounding)


def _positive(part: NDArray, rounding: float) -> NDArray:
    """[c]: sums of what of part [c, n] is above 0. Where it may be of nothing but rounding, what is no more than that is 0."""
    np.maximum(part, 0, out=part)
    found = part.sum(axis=1)
    for i in np.flatnonzero(found <= 2 * rounding * part.shape[1]) if rounding else ():
        found[i] = part[i][part[i] > rounding].sum()
    return found


def _between(
    values: NDArray, rows: NDArray[np.int64], low: NDArray[np.float64], high: NDArray[np.float64], cap: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """float64 [m]: `Kernel.between` for an array [n, m], a few rows at a time, some by each thread."""
    step = _block(values.shape[1], values.itemsize, CHUNK_BYTES)
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


def _entries(part: NDArray, covered: NDArray, cap: NDArray | None, rounding: float) -> Entries:
    """The entries of part [c, n] that lie above covered [n]: per row of it how many, then their places and values."""
    kept = part > covered + part.dtype.type(rounding)
    if cap is not None:
        kept &= cap > covered + rounding
    flat = np.flatnonzero(kept)
    counts = np.diff(np.searchsorted(flat, np.arange(len(part) + 1) * part.shape[1]))
    return counts, (flat % part.shape[1]).astype(np.int32), part.reshape(-1)[flat]


def _taken(held: NDArray, rows: NDArray[np.int64]) -> Iterator[tuple[slice, NDArray[np.int64], NDArray]]:
    """(columns, rows, the kernel there), of some rows, of a kernel that is held as rows of columns."""
    step = _block(len(rows), held.itemsize, CHUNK_BYTES)
    for first in range(0, len(held), step):
        where = slice(first, min(first + step, len(held)))
        yield where, rows, held[where].take(rows, axis=1)


def _threaded(part: NDArray, covered: NDArray, cap: NDArray | None, rounding: float) -> Entries:
    """`_entries`, of some rows of part by each thread."""
    step = max(1, -(-len(part) // threads()))
    work = [part[first : first + step] for first in range(0, len(part), step)]
    found = spread(lambda some: _entries(some, covered, cap, rounding), work)
    return tuple(map(np.concatenate, zip(*found)))  # type: ignore[return-value]


def _block(n: int, itemsize: int = 8, size: int = BLOCK_BYTES) -> int:
    return max(1, size // (itemsize * max(1, n)))


class Dense(_Blocks):
    """An array [n, m] of floats. In Fortran order its columns are read fastest."""

    rounding = 0.0

    def __init__(self, values: NDArray) -> None:
        if values.ndim != 2:
            raise ValueError(f"a kernel has two dimensions, not {values.ndim}")
        self.values, self.shape, self.block = values, values.shape, _block(values.shape[0])

    def column(self, j: int) -> tuple[Where, NDArray[np.float64]]:
        return slice(None), self.values[:, j].astype(np.float64)

    def _part(self, columns: NDArray[np.int64] | slice) -> NDArray[np.float64]:
        return np.array(self.values[:, columns].T, dtype=np.float64, order="C")

    def between(
        self, rows: NDArray[np.int64], low: NDArray[np.float64], high: NDArray[np.float64], cap: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.int64] | None, NDArray[np.float64]]:
        return None, _between(self.values, rows, low, high, cap)

    def only(self, columns: NDArray[np.int64]) -> "Dense":
        return Dense(self.values[:, columns])


class Sparse:
    """Entries by column; those that are not stored are 0.

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

    def narrowed(self, covered: NDArray[np.float64], cap: NDArray[np.float64] | None) -> "Kernel":
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


class Vectors(_Blocks):
    """The similarities of vectors; below 0 counts as 0.

    represented  float [n, d], finite and, but for `rbf`, not zero (`Similarity.usable`).
    selectable   float [m, d]; None: the same vectors.
    block        how many columns are computed at once, at most.
    memory       bytes: a kernel that takes no more is computed once and held.

    In float64 where that takes no more than 128 MB and no more than `memory`, else in float32; up to `rounding`.
    """

    def __init__(
        self,
        represented: NDArray,
        selectable: NDArray | None = None,
        *,
        similarity: Similarity = COSINE,
        block: int | None = None,
        memory: float = HELD_BYTES,
    ) -> None:
        self.similarity, self.memory = similarity, memory
        self.shape = len(represented), len(represented if selectable is None else selectable)
        exact = 8 * self.shape[0] * self.shape[1] <= min(memory, EXACT_BYTES)
        self.dtype: Any = np.float64 if exact else np.float32
        self.represented = similarity.features(represented, self.dtype)
        self.symmetric = selectable is None
        self.selectable = self.represented if selectable is None else similarity.features(selectable, self.dtype)
        self.block = block or TILE
        longest = 1.0
        if similarity.name == "rbf" and self.shape[0]:
            longest = max(1.0, float(np.einsum("nd,nd->n", self.represented, self.represented).max()))
        self.rounding = (1e-13 if exact else 1e-6) * max(1.0, similarity.gamma * longest)
        self._held: NDArray | None = None

    @property
    def fits(self) -> bool:
        """Whether the kernel takes no more than `memory`."""
        return self.dtype().itemsize * self.shape[0] * self.shape[1] <= self.memory

    def held(self) -> NDArray | None:
        """The kernel as rows of columns, [m, n]; None where it does not fit."""
        if self._held is None and self.fits:
            self._held = np.empty(self.shape[::-1], dtype=self.dtype)
            step = TILE if self.symmetric else _block(self.shape[0], self.dtype().itemsize)
            for first in range(0, self.shape[1], step):
                where, others = slice(first, first + step), slice(first if self.symmetric else 0, None)
                part = self.similarity.between(self.selectable[where], self.represented[others])
                self._held[where, others] = np.maximum(part, 0, out=part)
                for below in range(first + step, self.shape[1], step) if self.symmetric else ():  # its mirror image
                    mirror = slice(below, below + step)
                    self._held[mirror, where] = self._held[where, mirror].T
        return self._held

    def tiles(
        self, columns: NDArray[np.int64] | None = None, rows: NDArray[np.int64] | None = None
    ) -> Iterator[tuple[slice, Where, NDArray]]:
        """(places among columns, rows, the kernel there [columns, rows]), all rows of some columns before other columns.

        Parts are so small that they stay in the processor's cache.
        """
        size = self.shape[0] if rows is None else len(rows)
        for where in self._slices(columns):
            some = self.selectable[where if columns is None else columns[where]]
            step = max(1, TILE_BYTES // (self.represented.itemsize * max(1, len(some))))
            for first in range(0, size, step):
                at: Where = slice(first, min(first + step, size)) if rows is None else rows[first : first + step]
                part = self.similarity.between(some, self.represented[at])
                yield where, at, np.maximum(part, 0, out=part)

    def gains(
        self, covered: NDArray[np.float64], cap: NDArray[np.float64] | None, columns: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        held = self.held()
        size = self.shape[1] if columns is None else len(columns)
        found, least, most = np.zeros(size), covered.astype(self.dtype), _like(cap, self.represented)
        if held is None:
            for where, at, part in self.tiles(columns):
                found[where] += _excess(part, least[at], None if most is None else most[at], self.rounding)
            return found
        step = _block(self.shape[0], held.itemsize, CHUNK_BYTES)

        def work(first: int) -> None:
            last = min(first + step, size)
            part = np.empty((last - first, self.shape[0]), dtype=self.dtype)
            for out, j in zip(part, range(first, last) if columns is None else columns[first:last].tolist()):
                if most is not None:
                    np.subtract(np.minimum(held[j], most, out=out), least, out=out)
                else:
                    np.subtract(held[j], least, out=out)
            found[first:last] = _positive(part, self.rounding)

        spread(work, range(0, size, step))
        return found

    def between(
        self, rows: NDArray[np.int64], low: NDArray[np.float64], high: NDArray[np.float64], cap: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.int64] | None, NDArray[np.float64]]:
        held = self.held()
        if held is not None and self.symmetric:
            return None, _between(held, rows, low, high, cap)
        found = np.zeros(self.shape[1])
        for where, at, part in self.tiles(None, rows) if held is None else _taken(held, rows):
            places = np.searchsorted(rows, np.asarray(at))
            if cap is not None:
                np.minimum(part, cap[places].astype(self.dtype), out=part)
            part -= low[places].astype(self.dtype)
            found[where] += np.clip(part, 0, (high - low)[places].astype(self.dtype), out=part).sum(axis=1)
        return None, found

    def above(
        self, covered: NDArray[np.float64], cap: NDArray[np.float64] | None = None, parts: Iterable[Part] | None = None
    ) -> "Sparse":
        """As for any kernel. parts: the (columns, rows) that are compared, each column once; None: all with all."""
        if parts is None:
            step = self.block if self._held is None else _block(self.shape[0], self.dtype().itemsize)
            parts = ((np.arange(first, min(first + step, self.shape[1])), None) for first in range(0, self.shape[1], step))
        order, found, least, most = [], [], covered.astype(self.dtype), _like(cap, self.represented)
        for columns, rows in parts:
            order.append(columns)
            found.append(self._above(columns, rows, least, most))
        joined = Sparse.joined(found, self.shape, self.rounding)
        turns = np.concatenate([*order, np.empty(0, np.int64)])
        return joined if (np.diff(turns) > 0).all() else joined.only(np.argsort(turns))

    def _above(
        self, columns: NDArray[np.int64], rows: NDArray[np.int64] | None, covered: NDArray, cap: NDArray | None
    ) -> Entries:
        """The entries of these columns, which lie together where all rows are wanted and the kernel is held, and rows."""
        if self._held is not None and rows is None:
            return _threaded(self._held[columns[0] : columns[-1] + 1], covered, cap, self.rounding)
        tiles: list[tuple[NDArray, NDArray, NDArray]] = []
        for where, at, part in self.tiles(columns, rows):
            counts, places, values = _threaded(part, covered[at], None if cap is None else cap[at], self.rounding)
            of = np.repeat(np.arange(where.start, where.stop, dtype=np.int32), counts)
            tiles.append((of, (places + at.start if isinstance(at, slice) else at[places]).astype(np.int32), values))
        if not tiles:
            return np.zeros(len(columns), np.int64), np.empty(0, np.int32), np.empty(0, self.dtype)
        of, places, values = (np.concatenate(found) for found in zip(*tiles))
        turn = np.argsort(of, kind="stable")
        return np.bincount(of, minlength=len(columns)), places[turn], values[turn]

    def best_of_rows(self) -> NDArray[np.float64]:
        found = np.zeros(self.shape[1])
        for where, _, part in self.tiles():
            found[where] = np.maximum(found[where], part.max(axis=1))
        return found

    def best_of_columns(self) -> NDArray[np.float64]:
        found = np.zeros(self.shape[0])
        for _, at, part in self.tiles():
            found[at] = np.maximum(found[at], part.max(axis=0))
        return found

    def narrowed(self, covered: NDArray[np.float64], cap: NDArray[np.float64] | None) -> "Kernel":
        return super().narrowed(covered, cap) if self.held() is not None else self

    def column(self, j: int) -> tuple[Where, NDArray[np.float64]]:
        if self._held is not None:
            return slice(None), self._held[j].astype(np.float64)
        found = np.maximum(self.similarity.between(self.selectable[j], self.represented), 0)
        return slice(None), found.astype(np.float64, copy=False)

    def _part(self, columns: NDArray[np.int64] | slice) -> NDArray:
        if self._held is not None:
            return np.array(self._held[columns])
        some = self.selectable[columns]
        return self._compute(columns, np.empty((len(some), self.shape[0]), dtype=self.dtype))

    def _compute(self, columns: NDArray[np.int64] | slice, out: NDArray) -> NDArray:
        found = self.similarity.between(self.selectable[columns], self.represented, out=out)
        return np.maximum(found, 0, out=found)

    def towards(self, selectable: NDArray) -> "Vectors":
        """The same rows, represented by other vectors [m, d]."""
        found = object.__new__(Vectors)
        found.__dict__ = {**self.__dict__, "_held": None, "symmetric": False}
        found.selectable = self.similarity.features(selectable, self.dtype)
        found.shape = self.shape[0], len(selectable)
        return found

    def only(self, columns: NDArray[np.int64]) -> "Vectors":
        return self.part(None, columns)

    def part(self, rows: NDArray[np.int64] | None, columns: NDArray[np.int64] | None) -> "Vectors":
        """The kernel of some rows and columns, None for all; as this one is computed."""
        found = object.__new__(Vectors)
        found.__dict__ = {**self.__dict__, "_held": None, "symmetric": False}
        if rows is not None:
            found.represented = self.represented[rows]
        if columns is not None:
            found.selectable = self.selectable[columns]
            found._held = self._held[columns] if rows is None and self._held is not None else None
        found.shape = len(found.represented), len(found.selectable)
        return found
