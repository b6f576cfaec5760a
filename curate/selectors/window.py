"""Windows of a ranking: the rows closest in rank to a quantile, or the highest below one."""

import numpy as np
from numpy.typing import ArrayLike

from curate.budget import Limit
from curate.selectors.picks import Picks, prefix, scores, shortfall


def window(values: ArrayLike, limit: Limit, *, center: float = 0.5) -> Picks:
    """Take rows by distance in rank from the quantile `center`, closest first, until the budget is spent.

    `values`: float [n], in any unit; NaN is null and left out. `center`: 0.5 is the median, 0 the lowest score, 1 the
    highest. Among m rows with a score the ranks run from 0 to m - 1, equal scores share their mean rank, and the
    quantile stands at center x (m - 1). Ties go to the lower index, so that `center` 1 is top-k and 0 bottom-k.
    `gain` is the score. Raises ValueError for a center outside [0, 1], or unless there is one value per cost.
    """
    if not 0 <= center <= 1:
        raise ValueError(f"center must lie between 0 and 1, not {center}")
    values = scores(values, limit)
    eligible = np.flatnonzero(~np.isnan(values))
    rank = mean_rank(values[eligible])
    distance = np.round(np.abs(rank - center * (eligible.size - 1)), 6)  # the float noise of center x m is no order
    nearest = np.argsort(distance, kind="stable")
    order = eligible[nearest]
    return _picks(values, order, rank[nearest], limit, f"near {center:g}")


def below(values: ArrayLike, limit: Limit, *, top: float) -> Picks:
    """Take the highest scores that lie below the quantile `top`, highest first, until the budget is spent.

    `values`: as for `window`. What lies above the quantile is the extreme, of which the lowest comes when all below is taken.
    `top` 1 is top-k. `gain` is the score. Raises ValueError for a quantile outside [0, 1], or unless there is one value per cost.
    """
    if not 0 <= top <= 1:
        raise ValueError(f"top must lie between 0 and 1, not {top}")
    values = scores(values, limit)
    eligible = np.flatnonzero(~np.isnan(values))
    rank = mean_rank(values[eligible])
    extreme = rank > np.round(top * (eligible.size - 1), 6) + 1e-6
    turn = np.lexsort((np.where(extreme, rank, -rank), extreme))
    order = eligible[turn]
    return _picks(values, order, rank[turn], limit, f"below {top:g}")


def _picks(values: np.ndarray, order: np.ndarray, rank: np.ndarray, limit: Limit, wanted: str) -> Picks:
    """As much of an order as the budget allows. rank: of each row in the order, from 0."""
    picked = prefix(order, limit)
    quantile = rank[: picked.size] / max(order.size - 1, 1)
    return Picks(
        index=picked,
        gain=values[picked],
        stratum=[None] * picked.size,
        reason=[f"score at quantile {q:.4g}, wanted {wanted}" for q in quantile],
        nulls=values.size - order.size,
        shortfall=shortfall(picked, order, limit),
    )


def mean_rank(values: np.ndarray) -> np.ndarray:
    """float64 [n]: ranks from 0, equal values sharing their mean. (scipy's rankdata takes a second to import.)"""
    _, which, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count + 1) / 2)[which]
