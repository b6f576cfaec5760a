"""Optimal transport between two sets of vectors: the entropic duals, by Sinkhorn's algorithm in the log domain."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HELD_BYTES = 2**30  # of costs that are kept; beyond, blocks of them are computed anew each time
BLOCK = 2**22  # numbers at once


@dataclass(frozen=True)
class Duals:
    """rows float64 [n], others float64 [m]: the potentials; error: by how much a mass that arrives is off, on average."""

    rows: NDArray[np.float64]
    others: NDArray[np.float64]
    error: float
    iterations: int


def duals(rows: NDArray, others: NDArray, *, epsilon: float, iterations: int = 2000, tolerance: float = 1e-3) -> Duals:
    """Potentials of the transport of n uniform masses to m uniform masses at squared Euclidean cost, over the largest cost.

    rows [n, d] and others [m, d]: finite. epsilon: of the entropy, in units of the largest cost. It stops when the
    masses that arrive are off by less than `tolerance` of themselves on average, or after so many `iterations`.

    The rows' potential is the gradient of the transport's cost with respect to their masses, up to a constant.
    Raises ValueError for an epsilon that is not above 0, or an empty side.
    """
    if not epsilon > 0:
        raise ValueError(f"epsilon must be above 0, not {epsilon}")
    if not len(rows) or not len(others):
        raise ValueError("transport needs rows on both sides")
    cost = _Costs(np.asarray(rows, dtype=np.float64), np.asarray(others, dtype=np.float64))
    n, m = len(rows), len(others)
    f, g = np.zeros(n), np.zeros(m)
    error, step = np.inf, 0
    while step < iterations:
        step += 1
        arriving = np.full(m, -np.inf)  # log of the sum over rows of exp((f - c) / epsilon) / n
        for part, block in cost.blocks():
            f[part] = -epsilon * (_logsumexp((g[None, :] - block) / epsilon, axis=1) - np.log(m))
            arriving = np.logaddexp(arriving, _logsumexp((f[part, None] - block) / epsilon, axis=0))
        arriving -= np.log(n)
        error = float(np.abs(np.exp(arriving + g / epsilon) - 1).mean())
        if error < tolerance:
            break
        g = -epsilon * arriving
    return Duals(f, g, error, step)


def _logsumexp(values: NDArray, axis: int) -> NDArray[np.float64]:
    highest = values.max(axis=axis, keepdims=True)
    found: NDArray[np.float64] = np.log(np.exp(values - highest).sum(axis=axis)) + np.squeeze(highest, axis=axis)
    return found


class _Costs:
    """Squared distances over the largest, a block of rows at a time; held where they are few."""

    def __init__(self, rows: NDArray[np.float64], others: NDArray[np.float64]) -> None:
        self._rows, self._others = rows, others
        self._size = max(1, BLOCK // len(others))
        largest = max(float(block.max()) for _, block in self._computed())
        self._scale = largest if largest > 0 else 1.0
        held = 8 * len(rows) * len(others) <= HELD_BYTES
        self._held = [(part, block / self._scale) for part, block in self._computed()] if held else None

    def _computed(self):  # type: ignore[no-untyped-def]
        lengths = (self._others**2).sum(axis=1)
        for start in range(0, len(self._rows), self._size):
            part = slice(start, start + self._size)
            some = self._rows[part]
            yield part, np.maximum((some**2).sum(axis=1)[:, None] + lengths - 2 * some @ self._others.T, 0.0)

    def blocks(self):  # type: ignore[no-untyped-def]
        """(which rows, their costs [b, m]) for all rows."""
        if self._held is not None:
            yield from self._held
        else:
            yield from ((part, block / self._scale) for part, block in self._computed())
