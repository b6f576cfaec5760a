"""Greedy maximisation of a submodular function that is known by its gains alone."""

import math
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

_GRAINS = 2.0**30
_MOST = 256  # gains that are looked at at once


class Objective(Protocol):
    """A submodular function of m candidates; it holds the set taken so far."""

    def follow(self) -> NDArray[np.float64]:
        """float64 [m], finite: what each candidate gains now. From here on `take` keeps this very array up to date."""
        ...

    def initial_gains(self) -> NDArray[np.float64]:
        """float64 [m], finite: what each candidate alone gains, or an upper bound of it."""
        ...

    def gains(self, columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """float64 [c]: what each of these candidates would gain now, computed anew; never more than before (submodular)."""
        ...

    def take(self, j: int) -> NDArray[np.int64] | None:
        """Add j to the set. The candidates whose gains fell, perhaps several times each; None: any may have."""
        ...


def exact_greedy(
    objective: Objective, costs: NDArray[np.float64] | None = None, among: NDArray[np.int64] | None = None
) -> Iterator[tuple[int, float]]:
    """All candidates in the order of greedy, each with its gain; stop iterating when there are enough.

    costs  float64 [m]: the largest gain per cost comes first, a cost of 0 counting as 1. None: the largest gain.
    among  the candidates, where not all are; ascending.

    The order is that of computing every gain at every step. The objective keeps gains up to date, and rounding adds up in
    them, so that of a candidate is computed anew before it is taken. Ties go to the lower index; gains that differ by less
    than about 1e-9 of themselves are ties.
    """
    gains = objective.follow()
    weights = np.ones(len(gains)) if costs is None else np.where(costs > 0, costs, 1.0)
    out = np.ones(len(gains), dtype=bool)  # of the choice
    out[slice(None) if among is None else among] = False
    best = _Best(np.where(out, -np.inf, _coarse(gains / weights)))
    for _ in range(len(out) - int(out.sum())):
        while True:
            j = best.first()
            gain = float(objective.gains(np.array([j]))[0])
            worth = float(_coarse(np.array([gain / weights[j]]))[0])
            if worth >= best.values[j]:
                break
            best.lower(j, worth)
        yield j, gain
        out[j] = True
        best.lower(j, -np.inf)
        changed = objective.take(j)
        if changed is None:
            best = _Best(np.where(out, -np.inf, _coarse(gains / weights)))
        else:
            best.lower(changed, np.where(out[changed], -np.inf, _coarse(gains[changed] / weights[changed])))


class _Best:
    """Numbers that only fall, and which of them is the largest; of equal ones the first."""

    def __init__(self, values: NDArray[np.float64]) -> None:
        padded = np.full(-(-len(values) // _MOST) * _MOST, -np.inf)
        padded[: len(values)] = values
        self.values, self._blocks = padded, padded.reshape(-1, _MOST)
        self._tops = self._blocks.max(axis=1)  # no less than the largest of each block

    def first(self) -> int:
        while True:
            block = int(self._tops.argmax())
            at = int(self._blocks[block].argmax())
            if self._blocks[block, at] == self._tops[block]:
                return block * _MOST + at
            self._tops[block] = self._blocks[block, at]

    def lower(self, at: Any, to: Any) -> None:
        self.values[at] = to


def stochastic_greedy(
    objective: Objective, size: int, rng: np.random.Generator, *, eps: float = 0.1, costs: NDArray[np.float64] | None = None
) -> Iterator[tuple[int, float]]:
    """All candidates, each the best of a sample of those left; `size` are expected to be taken, and rule the sample's size.

    A sample has ceil(m / size x ln(1 / eps)) candidates: `size` picks reach 1 - 1/e - eps of the optimum in expectation, with
    about m ln(1 / eps) gains computed (Mirzasoleiman et al., 2015, arXiv 1409.7938). Another size draws other samples.
    Within a sample gains are computed lazily; ties go to the lower index. costs: as for `exact_greedy`. Raises ValueError
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
