"""Kernels for selectors that cover rows by rows: an array, a sparse matrix, or vectors whose kernel is never held whole.

A kernel is [n, m]: row i is what is represented, column j what can be picked, and the entry says how well j represents i. It
need not be symmetric.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from curate.selectors.similarity import Similarity

BLOCK_BYTES = 2**26  # of a part of the kernel that is held at once
COSINE = Similarity("cosine")
Where = NDArray[np.int64] | slice


class Kernel(Protocol):
    """shape: (n, m). rounding: how far equal entries may lie apart, as computed by `column` and by the other functions."""

    shape: tuple[int, int]
    rounding: float

    def column(self, j: int) -> tuple[Where, NDArray[np.float64]]:
        """The rows that j represents (positions, or a slice of all) and how well; the others have 0."""
        ...

    def gains(self, covered: NDArray[np.float64], cap: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """float64 [m]: sum over i of max(0, min(s_ij, cap_i) - covered_i). covered [n] at least 0; cap [n] or no cap."""
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
        return Sparse(given)
    return Dense(np.asarray(given)) if isinstance(given, (np.ndarray, list)) else given


class _Blocks:
    """A kernel that is worked off some columns at a time."""

    shape: tuple[int, int]
    block: int

    def _part(self, first: int, last: int) -> NDArray[np.float64]:
        """float64 [last - first, n], its own copy: the columns of a range as rows."""
        raise NotImplementedError

    def _parts(self) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        for first in range(0, self.shape[1], self.block):
            last = min(first + self.block, self.shape[1])
            yield slice(first, last), self._part(first, last)

    def gains(self, covered: NDArray[np.float64], cap: NDArray[np.float64] | None) -> NDArray[np.float64]:
        found = np.zeros(self.shape[1])
        for where, part in self._parts():
            if cap is not None:
                np.minimum(part, cap, out=part)
            part -= covered
            found[where] = np.maximum(part, 0, out=part).sum(axis=1)
        return found

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


def _block(n: int) -> int:
    return max(1, BLOCK_BYTES // (8 * max(1, n)))


class Dense(_Blocks):
    """An array [n, m] of floats. In Fortran order its columns are read fastest."""

    rounding = 0.0

    def __init__(self, values: NDArray) -> None:
        if values.ndim != 2:
            raise ValueError(f"a kernel has two dimensions, not {values.ndim}")
        self.values, self.shape, self.block = values, values.shape, _block(values.shape[0])

    def column(self, j: int) -> tuple[Where, NDArray[np.float64]]:
        return slice(None), self.values[:, j].astype(np.float64)

    def _part(self, first: int, last: int) -> NDArray[np.float64]:
        return np.array(self.values[:, first:last].T, dtype=np.float64, order="C")

    def only(self, columns: NDArray[np.int64]) -> "Dense":
        return Dense(self.values[:, columns])


class Sparse:
    """A scipy.sparse matrix [n, m]; entries that are not stored are 0."""

    rounding = 0.0

    def __init__(self, values: Any) -> None:
        self.values = values.tocsc()
        self.values.sum_duplicates()
        self.shape = self.values.shape

    def column(self, j: int) -> tuple[Where, NDArray[np.float64]]:
        part = slice(*self.values.indptr[j : j + 2])
        return self.values.indices[part], self.values.data[part].astype(np.float64)

    def gains(self, covered: NDArray[np.float64], cap: NDArray[np.float64] | None) -> NDArray[np.float64]:
        rows, data = self.values.indices, self.values.data.astype(np.float64)
        if cap is not None:
            np.minimum(data, cap[rows], out=data)
        data -= covered[rows]
        found = np.bincount(self._columns(), weights=np.maximum(data, 0, out=data), minlength=self.shape[1])
        return found.astype(np.float64, copy=False)  # of integers where nothing is stored

    def best_of_rows(self) -> NDArray[np.float64]:
        found = np.zeros(self.shape[1])
        np.maximum.at(found, self._columns(), self.values.data)
        return found

    def best_of_columns(self) -> NDArray[np.float64]:
        found = np.zeros(self.shape[0])
        np.maximum.at(found, self.values.indices, self.values.data)
        return found

    def _columns(self) -> NDArray[np.int64]:
        """The column of each stored entry."""
        return np.repeat(np.arange(self.shape[1]), np.diff(self.values.indptr))

    def only(self, columns: NDArray[np.int64]) -> "Sparse":
        return Sparse(self.values[:, columns])


class Vectors(_Blocks):
    """The similarities of vectors, computed as they are needed; below 0 counts as 0.

    represented  float [n, d], finite and, but for `rbf`, not zero (`Similarity.usable`).
    selectable   float [m, d]; None: the same vectors.
    block        how many columns are computed at once.

    In float64. Equal vectors have exactly equal columns.
    """

    def __init__(
        self,
        represented: NDArray,
        selectable: NDArray | None = None,
        *,
        similarity: Similarity = COSINE,
        block: int | None = None,
    ) -> None:
        self.similarity = similarity
        self.represented = similarity.features(represented)
        self.selectable = self.represented if selectable is None else similarity.features(selectable)
        self.shape = len(self.represented), len(self.selectable)
        self.block = block or _block(self.shape[0])
        longest = float((self.represented**2).sum(axis=1).max(initial=1)) if similarity.name == "rbf" else 1.0
        self.rounding = 1e-13 * max(1.0, similarity.gamma * longest)

    def column(self, j: int) -> tuple[Where, NDArray[np.float64]]:
        # One vector at a time: within a larger product, equal vectors could differ in their last bits.
        return slice(None), np.maximum(self.similarity.between(self.selectable[j], self.represented), 0)

    def _part(self, first: int, last: int) -> NDArray[np.float64]:
        return np.maximum(self.similarity.between(self.selectable[first:last], self.represented), 0)

    def only(self, columns: NDArray[np.int64]) -> "Vectors":
        part = object.__new__(Vectors)
        part.__dict__ = {**self.__dict__, "selectable": self.selectable[columns], "shape": (self.shape[0], len(columns))}
        return part
