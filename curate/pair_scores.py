"""A number for pairs of rows: how well an example serves a row; and the kernels that selectors make picks of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from curate.signals import RowScore

KernelForm = Literal["relu", "minmax"]


@dataclass(frozen=True)
class PairScore:
    """values float [n, m]: row i with example j, NaN where null; in a scipy.sparse.csr_array what is not stored was not tried."""

    values: Any

    @classmethod
    def of(cls, index: np.ndarray, values: np.ndarray, shape: tuple[int, int]) -> "PairScore":
        """From pairs int64 [p, 2], none twice, and their values [p]; an array where these are all pairs."""
        if len(index) == shape[0] * shape[1]:
            dense = np.full(shape, np.nan)
            dense[index[:, 0], index[:, 1]] = values
            return cls(dense)
        return cls(_sparse(values, index[:, 0], index[:, 1], shape))

    @property
    def shape(self) -> tuple[int, int]:
        return self.values.shape

    @property
    def complete(self) -> bool:
        """Whether every pair was tried."""
        return isinstance(self.values, np.ndarray)

    @property
    def tried(self) -> int:
        """How many pairs were."""
        return int(self.values.size if self.complete else self.values.nnz)

    def example_means(self) -> np.ndarray:
        """float64 [m]: the mean over the rows that each example was tried on; NaN where it has no value."""
        count: Any
        total: Any
        if self.complete:
            null = np.isnan(self.values)
            count, total = np.sum(~null, axis=0), np.sum(self.values, axis=0, where=~null, dtype=np.float64)
        else:
            _, j, values = self._there()
            count = np.bincount(j, minlength=self.shape[1])
            total = np.bincount(j, weights=values, minlength=self.shape[1])
        return np.divide(total, count, out=np.full(self.shape[1], np.nan), where=count > 0)

    def rows_with_values(self) -> np.ndarray:
        """bool [n]: whether a row has a value with any example."""
        if self.complete:
            return ~np.isnan(self.values).all(axis=1)
        return np.bincount(self._there()[0], minlength=self.shape[0]) > 0

    def bounds(self) -> tuple[float, float]:
        """(lowest, highest) value; (inf, -inf) without any."""
        values = self.values if self.complete else self.values.data
        there = ~np.isnan(values)
        low, high = np.min(values, initial=np.inf, where=there), np.max(values, initial=-np.inf, where=there)
        return float(low), float(high)

    def _there(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(rows, examples, values) of the pairs tried that are not null, of a sparse array."""
        pairs = self.values.tocoo()
        there = ~np.isnan(pairs.data)
        return pairs.coords[0][there], pairs.coords[1][there], pairs.data[there]

    def without_diagonal(self) -> "PairScore":
        """0 where a row is its own example."""
        if self.complete:
            values = self.values.copy()
            np.fill_diagonal(values, 0.0)
            return PairScore(values)
        pairs = self.values.tocoo()
        data = np.where(pairs.coords[0] == pairs.coords[1], 0.0, pairs.data)
        return PairScore(_sparse(data, pairs.coords[0], pairs.coords[1], self.shape))


def kernels(scores: Sequence[PairScore], form: KernelForm = "relu") -> list[Any]:
    """What selectors read: no entry below 0; pairs that are null or were not tried stand where the value 0 does.

    relu    max(value, 0), so that an example that does harm represents nothing.
    minmax  (value - lowest) / (highest - lowest) over all the scores together, 0 where they are all the same; the place of the
            value 0 is within [0, 1]. Raises ValueError unless all pairs were tried.
    """
    if form == "relu":
        return [_mapped(score, lambda values: np.maximum(values, 0)) for score in scores]
    if not all(score.complete for score in scores):
        raise ValueError("minmax needs all pairs: those that were not tried are no zeros")
    bounds = [score.bounds() for score in scores]
    low = min(low for low, _ in bounds)
    width = max(high for _, high in bounds) - low
    if not width > 0:
        return [np.zeros_like(score.values) for score in scores]
    nothing = float(np.clip(-low / width, 0, 1))
    return [_mapped(score, lambda values: (values - low) / width, nothing) for score in scores]


def _mapped(score: PairScore, function: Callable[[np.ndarray], np.ndarray], null: float = 0.0) -> Any:
    if score.complete:
        return np.nan_to_num(function(score.values), nan=null, copy=False)
    kernel = score.values.copy()
    kernel.data = np.nan_to_num(function(kernel.data), nan=0.0)
    return kernel


def best_examples(kernel: Any) -> np.ndarray:
    """float64 [n]: the largest entry of each row, at least 0."""
    return _largest(kernel, 1)


def best_rows(kernel: Any) -> np.ndarray:
    """float64 [m]: the largest entry of each column, at least 0."""
    return _largest(kernel, 0)


def _largest(kernel: Any, axis: int) -> np.ndarray:
    largest = kernel.max(axis=axis)
    if hasattr(largest, "toarray"):
        largest = largest.toarray()
    return np.maximum(np.asarray(largest, dtype=np.float64).reshape(-1), 0)


def example_scores(score: PairScore, reasons: np.ndarray, untried: str) -> RowScore:
    """Each example's mean. reasons object [m]: why one has none; untried: the reason of one that was not tried on any row."""
    means = score.example_means()
    return RowScore(means, np.where(np.isnan(means) & (reasons == None), untried, reasons))  # noqa: E711 (elementwise)


def _sparse(values: np.ndarray, i: np.ndarray, j: np.ndarray, shape: tuple[int, int]) -> Any:
    from scipy import sparse

    return sparse.csr_array(sparse.coo_array((values, (i, j)), shape=shape))
