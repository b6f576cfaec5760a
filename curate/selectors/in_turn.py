"""Groups in turn: each gives its best row before any gives a second."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from curate.budget import Limit
from curate.selectors.picks import Picks, prefix, shortfall
from curate.selectors.quota import checked


def in_turn(
    groups: Sequence[str],
    order: ArrayLike,
    limit: Limit,
    *,
    turns: Sequence[str] | None = None,
    rounds: int | None = None,
    name: str = "group",
) -> Picks:
    """Round after round every group gives its best row that is left, until the budget is spent.

    `groups`: the group of each row, [n]. `order`: positions, best first, without those that may not be picked (null scores).
    `turns`: the groups in the order in which they give; None: as their first rows come in `order`. `rounds`: so many
    rows of a group at most; None: all. `name` is what a group is called in the reasons.

    It stops at the row that would exceed the budget, so a smaller budget gives the first picks of a larger one. `gain` is
    NaN. Raises ValueError unless there is a group for each cost and a turn for each group, and for an order that repeats a
    position or leaves the pool.
    """
    n = limit.costs.size
    if len(groups) != n:
        raise ValueError(f"{len(groups)} groups for {n} costs")
    preferred = checked(order, n)
    found = [groups[i] for i in preferred.tolist()]
    turn = {group: place for place, group in enumerate(dict.fromkeys(found if turns is None else turns))}
    if without := [group for group in found if group not in turn]:
        raise ValueError(f"no turn for {name} {without[0]}")
    given: dict[str, int] = {}
    number = np.empty(len(found), dtype=np.int64)  # of a row in its group, from 1
    for place, group in enumerate(found):
        given[group] = number[place] = given.get(group, 0) + 1
    places = np.lexsort((np.array([turn[group] for group in found], dtype=np.int64), number))
    if rounds is not None:
        places = places[number[places] <= rounds]
    usable = preferred[places]
    picked = prefix(usable, limit)
    stratum = [found[place] for place in places[: picked.size].tolist()]
    numbers = number[places[: picked.size]].tolist()
    return Picks(
        index=picked,
        gain=np.full(picked.size, np.nan),
        stratum=list(stratum),
        reason=[f"{i} of {given[group]} from {name} {group}" for i, group in zip(numbers, stratum, strict=True)],
        nulls=n - preferred.size,
        shortfall=shortfall(picked, usable, limit),
    )
