"""Greedy maximisation of a submodular function that is known by its gains alone."""

import math
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

_GRAINS = 2.0**30
_MOST = 256  # gains that are computed at once


class Objective(Protocol):
    """A set function of m candidates; it holds the set taken so far."""

    def initial_gains(self) -> NDArray[np.float64]:
        """float64 [m], finite: what each candidate alone gains, or an upper bound of it."""
        ...

    def gains(self, columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """float64 [c]: what each of these candidates would gain now; never more than before (submodular)."""
        ...

    def take(self, j: int) -> None:
        """Add j to the set."""
        ...


def lazy_greedy(
    objective: Objective, costs: NDArray[np.float64] | None = None, among: NDArray[np.int64] | None = None
) -> Iterator[tuple[int, float]]:
    """All candidates in the order of greedy, each with its gain; stop iterating when there are enough.

    costs  float64 [m]: the largest gain per cost comes first, a cost of 0 counting as 1. None: the largest gain.
    among  the candidates, where not all are; ascending.

    Gains can only fall, so a gain of an earlier step bounds that of now, and a candidate whose gain of now leads all bounds is
    the best (Minoux, 1978). The order is exactly that of computing every gain at every step. Ties go to the lower index; gains
    that differ by less than about 1e-9 of themselves are ties.
    """
    bounds = objective.initial_gains()
    weights = np.ones(len(bounds)) if costs is None else np.where(costs > 0, costs, 1.0)
    among = np.arange(len(bounds)) if among is None else among
    heap = list(zip((-_coarse(bounds / weights))[among].tolist(), among.tolist()))
    heapify(heap)
    computed = np.full(len(bounds), -1)  # how many were taken when its gain was last computed
    gains, taken = np.zeros(len(bounds)), 0
    while heap:
        size = 1
        while computed[heap[0][1]] < taken:  # twice as many at a time, as they turn out to be needed
            some: list[int] = []
            while heap and len(some) < size and computed[heap[0][1]] < taken:
                some.append(heappop(heap)[1])
            columns = np.array(some)
            gains[columns], computed[columns] = objective.gains(columns), taken
            for bound, j in zip((-_coarse(gains[columns] / weights[columns])).tolist(), some):
                heappush(heap, (bound, j))
            size = min(2 * size, _MOST)
        j = heappop(heap)[1]
        yield j, float(gains[j])
        objective.take(j)
        taken += 1


def stochastic_greedy(
    objective: Objective, size: int, rng: np.random.Generator, *, eps: float = 0.1, costs: NDArray[np.float64] | None = None
) -> Iterator[tuple[int, float]]:
    """All candidates, each the best of a sample of those left; `size` are expected to be taken, and rule the sample's size.

    A sample has ceil(m / size x ln(1 / eps)) candidates: `size` picks reach 1 - 1/e - eps of the optimum in expectation, with
    about m ln(1 / eps) gains computed (Mirzasoleiman et al., 2015, arXiv 1409.7938). Another size draws other samples.
    Within a sample gains are computed lazily; ties go to the lower index. costs: as for `lazy_greedy`. Raises ValueError
    unless eps lies between 0 and 1.
    """
    if not 0 < eps < 1:
        raise ValueError(f"eps must lie between 0 and 1, not {eps}")
    bounds = objective.initial_gains()
    weights = np.ones(len(bounds)) if costs is None else np.where(costs > 0, costs, 1.0)
    bounds = _coarse(bounds / weights)
    gains, left = np.zeros(len(bounds)), np.arange(len(bounds))
    many = math.ceil(len(bounds) / max(1, size) * math.log(1 / eps))
    while len(left):
        sample = left if many >= len(left) else rng.choice(left, size=many, replace=False)
        sample = sample[np.lexsort((sample, -bounds[sample]))]
        best, highest, first, size = -1, -np.inf, 0, 1
        while first < len(sample) and bounds[sample[first]] >= highest:
            some = sample[first : first + size]
            gains[some] = objective.gains(some)
            bounds[some] = _coarse(gains[some] / weights[some])
            for j in some.tolist():
                if bounds[j] > highest or (bounds[j] == highest and j < best):
                    best, highest = j, bounds[j]
            first, size = first + size, min(2 * size, _MOST)
        yield best, float(gains[best])
        objective.take(best)
        left = left[left != best]


def _coarse(gains: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gains to 30 binary places, which keeps their order.

    In symmetric kernels two rows often gain the same: each represents itself and the other. Their sums, taken in different
    order, differ in the last bits.
    """
    mantissa, exponent = np.frexp(gains)
    return np.ldexp(np.round(mantissa * _GRAINS) / _GRAINS, exponent)
