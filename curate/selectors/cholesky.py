"""The Cholesky factor of a kernel on rows that are taken one by one, with the rows still left brought up to date on demand."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

_PANEL = 64  # columns that are solved for at once
_CHUNK = 8 * _PANEL  # columns of a stored piece: a page of memory for each row


class Gram(Protocol):
    """A positive semidefinite kernel [n, n]. diagonal: float64 [n]."""

    diagonal: NDArray[np.float64]

    def block(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """float64 [p, q], its own copy: the kernel of these rows and those."""
        ...


class LazyFactor:
    """Of each row its variance given those taken, as far as it has been brought up to date.

    variance  float64 [n]: k(i, i) - sum_{t < known_i} c_it^2, where c_i solves L c_i = k(taken, i) and L is the factor of the
              taken rows. It falls with each row that is taken, so it bounds that of now from above.
    known     int64 [n]: how many of the taken rows it knows of. taken: how many there are.

    Entries are kept for the rows that were brought up to date, and no further than they were: 8 bytes an entry, in chunks whose
    memory is used row by row, and 8 bytes for each pair of taken rows. Of the kernel only blocks between rows that are brought up
    to date and taken rows are computed, so all work is in products of matrices.
    """

    def __init__(self, gram: Gram) -> None:
        self.gram, self.taken = gram, 0
        self.variance = gram.diagonal.copy()
        self.known = np.zeros(len(self.variance), dtype=np.int64)
        self._picked = np.empty(_CHUNK, dtype=np.int64)
        self._lower = np.empty((_CHUNK, _CHUNK))
        self._chunks: list[_Chunk] = []

    def update(self, rows: NDArray[np.int64]) -> None:
        """Bring these rows, each named once and none of them taken, up to date."""
        from scipy.linalg import solve_triangular  # takes long to import

        rows = rows[np.argsort(self.known[rows], kind="stable")]
        known, taken = self.known[rows], self.taken
        work = np.empty((len(rows), taken))
        for place, chunk in enumerate(self._chunks):
            first = place * _CHUNK
            has = int(np.searchsorted(known, first, side="right"))
            if has < len(rows):
                work[has:, first : first + _CHUNK] = chunk.read(rows[has:], taken - first)
        begin = int(known[0]) if len(rows) else taken
        for first in range(begin, taken, _PANEL):
            last = min(first + _PANEL, taken)
            short = int(np.searchsorted(known, last))  # rows that lack an entry of this panel; they are the first
            found = self.gram.block(rows[:short], self._picked[first:last])
            if first:
                found -= work[:short, :first] @ self._lower[first:last, :first].T
            found = solve_triangular(self._lower[first:last, first:last], found.T, lower=True, check_finite=False).T
            work[:short, first:last] = found
            found = np.where(np.arange(first, last) >= known[:short, None], found, 0)
            self.variance[rows[:short]] -= np.einsum("ij,ij->i", found, found)
        self.variance[rows] = np.maximum(self.variance[rows], 0)
        for first in range(begin, taken, _CHUNK):
            last = min(first + _CHUNK, taken)
            short = int(np.searchsorted(known, last))
            self._store(rows[:short], first, work[:short, first:last])
        self.known[rows] = taken

    def entries(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """float64 [p, taken]: c_i of rows that are up to date."""
        found = np.empty((len(rows), self.taken))
        for place, chunk in enumerate(self._chunks):
            first = place * _CHUNK
            found[:, first : first + _CHUNK] = chunk.read(rows, self.taken - first)
        return found

    def take(self, rows: NDArray[np.int64], places: list[int], columns: NDArray[np.float64]) -> None:
        """Add rows[places] to the taken ones, in this order.

        rows up to date; columns float64 [s, p]: the next entries of each of them, as the picks were made.
        """
        if not places:
            return
        t, s = self.taken, len(places)
        picked = rows[places]
        if t + s > len(self._picked):
            size = max(2 * len(self._picked), t + s)
            self._picked = np.concatenate([self._picked[:t], np.empty(size - t, dtype=np.int64)])
            lower, self._lower = self._lower, np.empty((size, size))
            self._lower[:t, :t] = lower[:t, :t]
        self._lower[t : t + s, :t] = self.entries(picked)
        self._lower[t : t + s, t : t + s] = np.tril(columns[:, places].T)
        self._picked[t : t + s] = picked
        self.taken += s
        left = np.ones(len(rows), dtype=bool)
        left[places] = False
        others, columns = rows[left], columns[:, left]
        self._store(others, t, columns.T)
        self.variance[others] = np.maximum(self.variance[others] - np.einsum("ij,ij->j", columns, columns), 0)
        self.known[others] = self.taken

    def _store(self, rows: NDArray[np.int64], first: int, values: NDArray[np.float64]) -> None:
        """Keep values [p, w] as the entries of these rows from `first` on."""
        last = first + values.shape[1]
        for place in range(first // _CHUNK, -(-last // _CHUNK)):
            if place == len(self._chunks):
                self._chunks.append(_Chunk(len(self.known)))
            begin, end = max(place * _CHUNK, first), min((place + 1) * _CHUNK, last)
            self._chunks[place].write(rows, begin - place * _CHUNK, values[:, begin - first : end - first])


class _Chunk:
    """Some columns of the factor. Rows have their places in the order in which they came, so memory is used only as they come."""

    def __init__(self, n: int) -> None:
        self.values = np.empty((n, _CHUNK))  # the system gives memory where it is written
        self.place = np.full(n, -1, dtype=np.int64)
        self.used = 0

    def read(self, rows: NDArray[np.int64], columns: int) -> NDArray[np.float64]:
        """The first `columns` entries, or all that there are."""
        return self.values[self.place[rows], :columns]

    def write(self, rows: NDArray[np.int64], first: int, values: NDArray[np.float64]) -> None:
        new = rows[self.place[rows] < 0]
        self.place[new] = np.arange(self.used, self.used + len(new))
        self.used += len(new)
        self.values[self.place[rows], first : first + values.shape[1]] = values
