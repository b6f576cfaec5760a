"""A set of rows whose transport to a target is cheap: greedy cover, then exchanges."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TRIED = 10  # rows on either side of an exchange that are tried
SMALLEST = 1e-12  # what a cost must fall by


def cover(costs: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """`count` rows (all if there are fewer) that cover the columns of costs [n, m] cheaply, in the order in which they are taken.

    The first has the least sum; each further row lowers the sum of the columns' least costs most, until none does. What no column
    is nearest to is put back, and the next round covers the columns anew with the rows that are left. Ties go to the lower index.
    Source: the first stage of GORACS, arXiv 2506.04015.
    """
    left = np.ones(len(costs), dtype=bool)
    taken: list[int] = []
    while len(taken) < min(count, len(costs)):
        part: list[int] = []
        least = np.full(costs.shape[1], np.inf)
        while len(taken) + len(part) < count and left.any():
            new = np.where(left, np.minimum(costs, least).sum(axis=1), np.inf)
            row = int(np.argmin(new))
            if part and new[row] >= least.sum() - SMALLEST:
                break
            part.append(row)
            left[row] = False
            least = np.minimum(least, costs[row])
        nearest = costs[part].argmin(axis=0)
        used = [row for place, row in enumerate(part) if (nearest == place).any()]
        left[np.setdiff1d(part, used)] = True
        taken += used
    return np.array(taken, dtype=np.int64)


@dataclass(frozen=True)
class Transport:
    """The least cost of carrying n equal masses to m equal masses, and the potentials of both: float64 [n], float64 [m]."""

    cost: float
    rows: NDArray[np.float64]
    columns: NDArray[np.float64]


def transport(costs: NDArray[np.float64]) -> Transport:
    """Exact optimal transport by a linear programme over the n x m pairs. costs: float64 [n, m]."""
    from scipy.optimize import linprog
    from scipy.sparse import eye_array, kron, vstack

    n, m = costs.shape
    marginals = vstack([kron(eye_array(n), np.ones((1, m))), kron(np.ones((1, n)), eye_array(m))]).tocsr()
    masses = np.concatenate([np.full(n, 1 / n), np.full(m, 1 / m)])
    found = linprog(costs.ravel(), A_eq=marginals, b_eq=masses, method="highs")
    duals = found.eqlin.marginals
    return Transport(float(found.fun), duals[:n], duals[n:])


def exchanged(costs: NDArray[np.float64], chosen: NDArray[np.int64], exchanges: int) -> tuple[NDArray[np.int64], list[float]]:
    """(the rows after up to so many exchanges, the cost of their transport before the first and after each).

    Each exchange is the first found that makes the transport cheaper, trying the rows that cost most against those outside that
    the potentials promise most from. The cost never rises. Source: the second stage of GORACS.
    """
    current, best = chosen.copy(), transport(costs[chosen])
    history = [best.cost]
    for _ in range(exchanges):
        outside = np.setdiff1d(np.arange(len(costs)), current)
        promise = (costs[outside] - best.columns).min(axis=1)
        come = outside[np.argsort(promise, kind="stable")][:TRIED]
        go = np.argsort(-best.rows, kind="stable")[:TRIED]
        better = None
        for place, row in ((place, row) for place in go.tolist() for row in come.tolist()):
            trial = current.copy()
            trial[place] = row
            found = transport(costs[trial])
            if found.cost < best.cost - SMALLEST:
                better = trial, found
                break
        if better is None:
            break
        current, best = better
        history.append(best.cost)
    return current, history
