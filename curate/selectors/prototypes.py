"""Picks by a score with some of every group: a floor for each, and the best of all for the rest."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curate.budget import Limit
from curate.selectors.picks import Picks, prefix, scores, shortfall
from curate.selectors.quota import quota


def with_floors(values: ArrayLike, strata: Sequence[str | None], limit: Limit, *, share: float) -> Picks:
    """The best by score, of which every group has its equal part of a share of the budget, as far as it has rows.

    values  float [n], higher first; NaN is null. strata: the group of each row.
    share   of the budget that groups divide equally, from 0 (the best of all) to 1 (equal groups).

    Picks come best first; `gain` is the score. Ties go to the lower index. Source: arXiv 2206.14486.
    Raises ValueError for another share, or sizes that differ.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie between 0 and 1, not {share}")
    rated = scores(values, limit)
    order = np.argsort(-rated, kind="stable")
    order = order[~np.isnan(rated[order])]
    floors = quota(strata, order, Limit(limit.costs, np.floor(share * limit.capacity * (1 + 1e-12)), limit.unit)).index
    floor = np.zeros(len(rated), dtype=bool)
    floor[floors] = True
    rest = order[~floor[order]]
    more = prefix(rest, Limit(limit.costs, max(0.0, limit.capacity - float(limit.costs[floors].sum())), limit.unit))
    chosen = floor.copy()
    chosen[more] = True
    picked = order[chosen[order]]
    return Picks(
        index=picked,
        gain=rated[picked],
        stratum=[strata[i] for i in picked.tolist()],
        reason=["the part of its cluster" if floor[i] else "the best of all clusters" for i in picked.tolist()],
        nulls=len(rated) - len(order),
        shortfall=shortfall(picked, order, limit),
    )


def both_ends(distances: NDArray[np.float64], clusters: NDArray[np.int64], near: float) -> NDArray[np.int64]:
    """All positions, such that the first k of a cluster are its nearest and its farthest rows, `near` the share of the nearest.

    distances  float [n], to the middle of the row's cluster. Of each cluster the first rows come first, so that a quota over
               clusters takes them in this order. Source: DEFT-UCS, arXiv 2310.16776.
    """
    place = np.empty(len(distances), dtype=np.int64)
    by = np.lexsort((distances, clusters))
    for members in np.split(by, np.flatnonzero(np.diff(clusters[by])) + 1):
        count = np.ceil(near * np.arange(1, len(members) + 1) - 1e-9).astype(np.int64)  # of the nearest, among the first k
        is_near = np.diff(np.concatenate([[0], count])) > 0
        place[members[: int(is_near.sum())]] = np.flatnonzero(is_near)
        place[members[int(is_near.sum()) :][::-1]] = np.flatnonzero(~is_near)  # the farthest first
    return np.lexsort((np.arange(len(place)), place))
