"""A share of the budget for every group, so that no large source or cluster drowns the small ones."""

from collections.abc import Mapping, Sequence
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
    rule: Literal["equal", "proportional"] | Mapping[str | None, float] = "equal",
    name: str = "group",
    tiny: int = 0,
) -> Picks:
    """Divide the budget among groups, and in each take rows in order of preference.

    `strata`: the group of each row, [n]; rows with None form a group of their own. `order`: positions, best first,
    without those that may not be picked (null scores); None prefers the lower index. `name` is what a group is
    called in the reasons ("source", "cluster").

    `equal`: smallest group first; with m of the budget and g groups left, the group receives
    min(its cost, floor(m / g)), and what it does not use is left to the others. What is left after rounding is spent one
    row at a time, largest group first and round again, a group leaving when its next row does not fit. This is the quota
    of S2L (arXiv 2403.07384).

    `proportional`: to the groups' costs; or by a weight for each group (at least 0). A group that is smaller than its part
    leaves the rest to the others by their weights. Parts are cut down to whole rows, and what is left is spent one row at a
    time, largest remainder first and round again; groups of weight 0 come only then, behind the others.

    `tiny`: groups of at most so many rows come last, as one: what the others leave goes to their rows in order of
    preference. Groups that are alike rank by their names.

    The picks keep the order of preference; `gain` is NaN. Raises ValueError for an unknown rule, or for an order
    that repeats a position or leaves the pool.
    """
    n = limit.costs.size
    if len(strata) != n:
        raise ValueError(f"{len(strata)} strata for {n} costs")
    if rule not in ("equal", "proportional") and not isinstance(rule, Mapping):
        raise ValueError(f"rule must be equal, proportional or weights, not {rule!r}")
    preferred = np.arange(n) if order is None else checked(order, n)
    eligible = preferred
    if limit.capacity == 0:
        preferred = preferred[:0]  # not even rows that cost nothing
    members = _groups(strata, preferred)
    large = {label: member for label, member in members.items() if member.size > tiny}
    costs = [limit.costs[preferred[member]] for member in large.values()]
    if rule == "equal":
        shares = _equal_shares(costs, limit.capacity)
    else:
        weights = [rule[label] for label in large] if isinstance(rule, Mapping) else [cost.sum() for cost in costs]
        shares = _weighted_shares(costs, limit.capacity, np.array(weights, dtype=np.float64))
    taken = dict(zip(large, shares, strict=True))
    left = limit.capacity - sum(float(cost[:k].sum()) for cost, k in zip(costs, shares, strict=True))
    taken |= _leftovers({label: members[label] for label in members.keys() - large.keys()}, preferred, limit, left)

    place = np.concatenate([member[: taken[label]] for label, member in members.items()] or [preferred[:0]])
    within = np.concatenate([np.arange(1, taken[label] + 1) for label in members] or [preferred[:0]])
    size = np.repeat([member.size for member in members.values()], [taken[label] for label in members])
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
        nulls=n - eligible.size,
        shortfall=shortfall(picked, eligible, limit),
    )


def checked(order: ArrayLike, n: int) -> NDArray[np.int64]:
    """An order as int64. ValueError unless it holds positions of n rows, each at most once."""
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


def _leftovers(
    members: Mapping[str | None, NDArray[np.int64]], preferred: NDArray[np.int64], limit: Limit, left: float
) -> dict[str | None, int]:
    """How many rows each tiny group gives when their rows are taken in order of preference until the next does not fit."""
    places = np.sort(np.concatenate([*members.values(), preferred[:0]]))
    fit = int(np.searchsorted(np.cumsum(limit.costs[preferred[places]]), left * (1 + 1e-12), side="right"))
    return {label: int(np.isin(member, places[:fit]).sum()) for label, member in members.items()}


def _spent(costs: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """For each group what its first 0, 1, 2, ... rows cost."""
    return [np.concatenate([[0.0], np.cumsum(cost)]) for cost in costs]


def _fitting(spent: NDArray[np.float64], part: float) -> int:
    """How many first rows cost no more than a part."""
    return int(np.searchsorted(spent, part * (1 + 1e-12), side="right")) - 1


def _equal_shares(costs: list[NDArray[np.float64]], capacity: float) -> list[int]:
    """How many rows each group gives. `costs`: for each group what its rows cost, best row first."""
    taken, spent = [0] * len(costs), _spent(costs)
    sizes, left = [float(s[-1]) for s in spent], capacity
    for turn, g in enumerate(sorted(range(len(costs)), key=lambda g: sizes[g])):
        part = min(sizes[g], float(np.floor(left / (len(costs) - turn) * (1 + 1e-12))))
        taken[g] = _fitting(spent[g], part)
        left -= float(spent[g][taken[g]])
    _in_turns(taken, costs, sorted(range(len(costs)), key=lambda g: -sizes[g]), left)
    return taken


def _weighted_shares(costs: list[NDArray[np.float64]], capacity: float, weights: NDArray[np.float64]) -> list[int]:
    """As `_equal_shares`, by weights. ValueError unless these are finite and none below 0."""
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("weights of groups must be finite numbers, none below 0")
    spent = _spent(costs)
    sizes = np.array([s[-1] for s in spent])
    parts = _parts(weights, sizes, capacity)
    taken = [_fitting(s, part) for s, part in zip(spent, parts, strict=True)]
    used = np.array([s[k] for s, k in zip(spent, taken, strict=True)])
    left, remainder = capacity - float(used.sum()), parts - used
    turns = sorted(range(len(costs)), key=lambda g: (weights[g] == 0, -round(remainder[g], 9), -sizes[g]))
    first = [g for g in turns if weights[g] > 0]
    left = _in_turns(taken, costs, first, left)
    _in_turns(taken, costs, [g for g in turns if weights[g] == 0], left)
    return taken


def _parts(weights: NDArray[np.float64], sizes: NDArray[np.float64], capacity: float) -> NDArray[np.float64]:
    """The capacity by weights, no part larger than its group; what a group cannot take goes to the others."""
    parts, open_ = np.zeros(len(weights)), weights > 0
    while open_.any():
        left = max(0.0, capacity - float(parts[~open_].sum()))
        parts[open_] = left * weights[open_] / weights[open_].sum()
        full = open_ & (parts >= sizes)
        if not full.any():
            break
        parts[full] = sizes[full]
        open_ &= ~full
    return parts


def _in_turns(taken: list[int], costs: list[NDArray[np.float64]], turns: list[int], left: float) -> float:
    """Spend what is left one row at a time, group by group and round again. Changes `taken`; returns what is left then."""
    while turns:
        still = []
        for g in turns:
            if taken[g] < costs[g].size and costs[g][taken[g]] <= left:
                left -= float(costs[g][taken[g]])
                taken[g] += 1
                still.append(g)
        turns = still
    return left
