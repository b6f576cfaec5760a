"""How good any picks could be: an upper bound of the best coverage within a budget."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.budget import Limit
from curate.selectors.coverage import Coverage
from curate.selectors.kernels import Kernel
from curate.selectors.vector_kernel import Vectors

LEVELS = 4  # best picks of each row between which the prices of rows are sought
SAMPLE, PILOT = 4096, 512  # columns, of an estimate
SURE = 1.96  # standard errors above the mean: 97.5% of estimates lie above what they estimate


@dataclass(frozen=True)
class Bound:
    """value: f of the picks. most: no picks within the budget have more. estimated: that is so with 97.5% confidence only."""

    value: float
    most: float
    estimated: bool

    @property
    def ratio(self) -> float:
        return 1.0 if self.most <= self.value else self.value / self.most

    def __str__(self) -> str:
        sure = "by an estimate (97.5% confidence), " if self.estimated else ""
        return f"{sure}the picks reach at least {np.floor(self.ratio * 1000) / 10:.1f}% of what the best possible would"


def bound(
    coverage: Coverage,
    kernel: Kernel,
    floor: NDArray[np.float64],
    picked: NDArray[np.int64],
    value: float,
    limit: Limit,
    *,
    iterations: int = 20,
) -> Bound:
    """The Lagrangian dual of facility location, after a few steps of subgradients from the prices that the picks suggest.

    Whatever the prices v_i of rows, sum_i v_i + (what the best k of the columns gain over v) is no less than f of any k columns,
    since f(A) <= sum_i v_i + sum_{j in A} sum_i max(0, s_ij - v_i). With v_i = max_{j in A} s_ij that is f(A) and the k largest
    gains that remain; lower prices of rows that stand for themselves alone make it several times as tight. For tokens the best
    columns are those of the relaxed knapsack.

    kernel, floor  all entries that lie above floor [n]; prices do not go below it.
    picked, value  the picks and their f. limit: with a cost for each column.

    Source: Cornuejols, Fisher and Nemhauser, Management Science 23 (1977).
    """
    cap, bonus = coverage.cap, coverage.bonus
    best = np.repeat(floor[None], LEVELS, axis=0)
    for j in picked.tolist():
        where, values = kernel.column(j)
        for level in best:
            level[where], values = np.maximum(level[where], values), np.minimum(level[where], values)
    if cap is not None:
        best = np.maximum(np.minimum(best, cap), floor)
    least, prices = best[-1], best[0].copy()
    if kernel.shape[0] == kernel.shape[1]:  # picks stand for themselves, where a row is what it is picked for
        prices[picked] = best[1][picked]
    left = kernel.above(least, cap)
    most, columns = np.inf, left.columns()
    for _ in range(iterations):
        gains = left.gains(prices, cap) + bonus
        share = _relaxed(gains, limit.costs, limit.capacity)[0]
        now = float((prices - coverage.before).sum() + (share * gains).sum())
        most = min(most, now)
        values = left.values if cap is None else np.minimum(left.values, cap[left.rows])
        over = values > prices[left.rows]
        slope = 1 - np.bincount(left.rows[over], weights=share[columns[over]], minlength=len(prices))
        slope[(slope > 0) & (prices <= least)] = 0
        size = float((slope**2).sum())
        if now - value <= 1e-9 * abs(now) or not size:
            break
        prices = np.maximum(prices - 0.7 * (now - value) / size * slope, least)
    return Bound(value, most, False)


def estimated(
    coverage: Coverage,
    kernel: Vectors,
    prices: NDArray[np.float64],
    value: float,
    limit: Limit,
    rng: np.random.Generator | None = None,
) -> Bound:
    """The same bound at given prices, from what columns drawn by rng gain over them.

    What the best k columns gain is at most k p + sum_j max(0, gain_j - p) for any price p of a pick. p comes of some columns, the
    sum of others: their mean and 1.96 of its standard errors.
    """
    m = kernel.shape[1]
    some = (rng or np.random.default_rng(0)).permutation(m)[: SAMPLE + PILOT]
    gains = kernel.gains(prices, coverage.cap, some) + coverage.bonus[some]
    pilot = len(some) // (1 + SAMPLE // PILOT)
    price = _relaxed(gains[:pilot], limit.costs[some[:pilot]], limit.capacity * pilot / m)[1] if pilot else 0.0
    over = np.maximum(gains - price * limit.costs[some], 0)[pilot:]
    mean = over.mean() + (SURE * over.std(ddof=1) / np.sqrt(len(over)) if 1 < len(over) < m else 0.0)
    return Bound(value, float((prices - coverage.before).sum() + price * limit.capacity + m * mean), True)


def _relaxed(gains: NDArray[np.float64], costs: NDArray[np.float64], capacity: float) -> tuple[NDArray[np.float64], float]:
    """How much of each column fills the capacity best, parts of columns allowed, and what a unit of capacity then gains."""
    share = np.zeros(len(gains))
    with np.errstate(divide="ignore"):
        order = np.argsort(-np.where(costs > 0, gains / np.where(costs > 0, costs, 1), np.inf), kind="stable")
    spent = np.cumsum(costs[order])
    fits = int(np.searchsorted(spent, capacity, side="right"))
    share[order[:fits]] = 1
    if fits == len(order):
        return share, 0.0
    last = order[fits]
    share[last] = (capacity - (spent[fits - 1] if fits else 0.0)) / costs[last]
    return share, float(gains[last] / costs[last])
