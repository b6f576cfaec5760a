"""A share of the budget for every group, so that no large source or cluster drowns the small ones."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curate.budget import Limit
from curate.selectors.picks import Picks, shortfall


def quota(
    strata: Sequence[str | None],
    order: ArrayLike | None,
    limit: Limit,
    *,
    rule: Literal["equal", "proportional"] = "equal",
    name: str = "group",
) -> Picks:
    """Divide the budget among groups, and in each take rows in order of preference.

    `strata`: the group of each row, [n]; rows with None form a group of their own. `order`: positions, best first,
    without those that may not be picked (null scores); None prefers the lower index. `name` is what a group is
    called in the reasons ("source", "cluster").

    `equal`: smallest group first; with m of the budget and g groups left, the group receives
    min(its cost, floor(m / g)), and what it does not use is left to the others. `proportional`:
    floor(budget x its share of the cost). A group takes its rows until the next would exceed its part. What is left
    after rounding is spent one row at a time, largest group first and round again, a group leaving when its next row
    does not fit. Groups of one cost rank by their names. This is the quota of S2L (arXiv 2403.07384) without its
    special case for tiny clusters.

    The picks keep the order of preference; `gain` is NaN. Raises ValueError for an unknown rule, or for an order
    that repeats a position or leaves the pool.
    """
    n = limit.costs.size
    if len(strata) != n:
        raise ValueError(f"{len(strata)} strata for {n} costs")
    if rule not in ("equal", "proportional"):
        raise ValueError(f"rule must be equal or proportional, not {rule!r}")
    preferred = np.arange(n) if order is None else _checked(order, n)
    members = _groups(strata, preferred)
    taken = _shares([limit.costs[preferred[member]] for member in members.values()], limit.capacity, rule)

    place = np.concatenate([member[:k] for member, k in zip(members.values(), taken, strict=True)] or [preferred[:0]])
    within = np.concatenate([np.arange(1, k + 1) for k in taken] or [preferred[:0]])
    size = np.repeat([member.size for member in members.values()], taken)
    turn = np.argsort(place, kind="stable")
    picked = preferred[place[turn]]
    stratum = [strata[i] for i in picked.tolist()]
    return Picks(
        index=picked,
        gain=np.full(picked.size, np.nan),
        stratum=stratum,
        reason=[
            f"{i} of {m} from {name} {s}" if s is not None else f"{i} of {m} without a {name}"
            for i, m, s in zip(within[turn].tolist(), size[turn].tolist(), stratum, strict=True)
        ],
        nulls=n - preferred.size,
        shortfall=shortfall(picked, preferred, limit),
    )


def _checked(order: ArrayLike, n: int) -> NDArray[np.int64]:
    positions = np.asarray(order)
    if positions.size == 0:
        return np.empty(0, dtype=np.int64)
    if positions.ndim != 1 or not np.issubdtype(positions.dtype, np.integer):
        raise ValueError("order must be a flat array of positions")
    if positions.min() < 0 or positions.max() >= n or np.unique(positions).size != positions.size:
        raise ValueError(f"order must hold positions of the pool, from 0 to {n - 1}, each at most once")
    return positions.astype(np.int64)


def _groups(strata: Sequence[str | None], preferred: NDArray[np.int64]) -> dict[str | None, NDArray[np.int64]]:
    """Places in `preferred` by group, groups in order of their names, None last."""
    codes: dict[str | None, int] = {}
    code = np.array([codes.setdefault(strata[i], len(codes)) for i in preferred.tolist()], dtype=np.int64)
    parts = np.split(np.argsort(code, kind="stable"), np.cumsum(np.bincount(code, minlength=len(codes)))[:-1])
    names = sorted(codes, key=lambda label: (label is None, label or ""))
    return {label: parts[codes[label]] for label in names}


def _shares(costs: list[NDArray[np.float64]], capacity: float, rule: str) -> list[int]:
    """How many rows each group gives. `costs`: for each group what its rows cost, best row first."""
    taken = [0] * len(costs)
    if not costs or capacity == 0:
        return taken
    spent = [np.concatenate([[0.0], np.cumsum(cost)]) for cost in costs]
    sizes = [float(s[-1]) for s in spent]
    total, left = sum(sizes), capacity
    ascending = sorted(range(len(costs)), key=lambda g: sizes[g])
    for turn, g in enumerate(ascending):
        share = left / (len(costs) - turn) if rule == "equal" else capacity * (sizes[g] / total if total else 0)
        part = min(sizes[g], float(np.floor(share * (1 + 1e-12))))
        taken[g] = int(np.searchsorted(spent[g], part, side="right")) - 1
        left -= float(spent[g][taken[g]])

    waiting = sorted(range(len(costs)), key=lambda g: -sizes[g])
    while waiting:
        still = []
        for g in waiting:
            if taken[g] < costs[g].size and costs[g][taken[g]] <= left:
                left -= float(costs[g][taken[g]])
                taken[g] += 1
                still.append(g)
        waiting = still
    return taken
