"""The kernel of vectors, by a similarity of theirs: held where it is small, computed in tiles where it is not."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.selectors.kernels import Blocks, Kernel, between, columns_at_once, entries, excess, in_precision_of, positive
from curate.selectors.similarity import Similarity
from curate.selectors.sparse import CHUNK_BYTES, Entries, Sparse, Where
from curate.selectors.threads import spread, threads

EXACT_BYTES = 2**27  # a kernel of no more is computed in float64
HELD_BYTES = 1_700_000_000  # a kernel of no more is held, in float32
TILE, TILE_BYTES = 1024, 2**25  # columns of a tile, and its size
COSINE = Similarity("cosine")
Part = tuple[NDArray[np.int64], NDArray[np.int64] | None]


class Vectors(Blocks):
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
            step = TILE if self.symmetric else columns_at_once(self.shape[0], self.dtype().itemsize)
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
        found, least, most = np.zeros(size), covered.astype(self.dtype), in_precision_of(cap, self.represented)
        if held is None:
            for where, at, part in self.tiles(columns):
                found[where] += excess(part, least[at], None if most is None else most[at], self.rounding)
            return found
        step = columns_at_once(self.shape[0], held.itemsize, CHUNK_BYTES)

        def work(first: int) -> None:
            last = min(first + step, size)
            part = np.empty((last - first, self.shape[0]), dtype=self.dtype)
            for out, j in zip(part, range(first, last) if columns is None else columns[first:last].tolist()):
                if most is not None:
                    np.subtract(np.minimum(held[j], most, out=out), least, out=out)
                else:
                    np.subtract(held[j], least, out=out)
            found[first:last] = positive(part, self.rounding)

        spread(work, range(0, size, step))
        return found

    def between(
        self, rows: NDArray[np.int64], low: NDArray[np.float64], high: NDArray[np.float64], cap: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.int64] | None, NDArray[np.float64]]:
        held = self.held()
        if held is not None and self.symmetric:
            return None, between(held, rows, low, high, cap)
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
            step = self.block if self._held is None else columns_at_once(self.shape[0], self.dtype().itemsize)
            parts = ((np.arange(first, min(first + step, self.shape[1])), None) for first in range(0, self.shape[1], step))
        order, found, least, most = [], [], covered.astype(self.dtype), in_precision_of(cap, self.represented)
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


def _threaded(part: NDArray, covered: NDArray, cap: NDArray | None, rounding: float) -> Entries:
    """`entries`, of some rows of part by each thread."""
    step = max(1, -(-len(part) // threads()))
    work = [part[first : first + step] for first in range(0, len(part), step)]
    found = spread(lambda some: entries(some, covered, cap, rounding), work)
    return tuple(map(np.concatenate, zip(*found)))  # type: ignore[return-value]


def _taken(held: NDArray, rows: NDArray[np.int64]) -> Iterator[tuple[slice, NDArray[np.int64], NDArray]]:
    """(columns, rows, the kernel there), of some rows, of a kernel that is held as rows of columns."""
    step = columns_at_once(len(rows), held.itemsize, CHUNK_BYTES)
    for first in range(0, len(held), step):
        where = slice(first, min(first + step, len(held)))
        yield where, rows, held[where].take(rows, axis=1)
