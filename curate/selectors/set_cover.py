"""Rows that cover tags, pass after pass: each pick of a pass adds a tag that the pass had not."""

from collections.abc import Collection, Hashable, Sequence

import numpy as np

from curate.budget import Limit
from curate.selectors.picks import Picks, shortfall

NAMED = 3  # tags that a reason names at most


def set_cover(tags: Sequence[Collection[Hashable]], limit: Limit) -> Picks:
    """Walk the rows from the most tags to the fewest, take each that has a tag not covered yet, and begin anew.

    tags  of each row, [n]; a row without any is left out. Every pass begins with nothing covered and walks what is left.

    Takes rows until the next would exceed the budget, so a smaller budget gives a prefix. Ties go to the lower index. `gain` is
    how many tags a pick adds to its pass, `stratum` the pass. Source: the sampling of InsTag, arXiv 2308.07074. Raises ValueError
    unless there is one set of tags per cost.
    """
    if len(tags) != limit.costs.size:
        raise ValueError(f"{len(tags)} sets of tags for {limit.costs.size} costs")
    sets = [frozenset(some) for some in tags]
    there = [i for i in range(len(sets)) if sets[i]]
    order = sorted(there, key=lambda i: -len(sets[i]))
    picked: list[int] = []
    gain: list[int] = []
    stratum: list[str | None] = []
    reason: list[str] = []
    left, number, spent, full = order, 0, 0.0, limit.capacity == 0
    while left and not full:
        number += 1
        covered: set[Hashable] = set()
        passed_over = []
        for i in left:
            new = sets[i] - covered
            if not new:
                passed_over.append(i)
                continue
            spent += float(limit.costs[i])
            if full := spent > limit.capacity:
                break
            covered |= new
            picked.append(i)
            gain.append(len(new))
            stratum.append(f"pass {number}")
            some = sorted(map(str, new))
            more = f" and {len(some) - NAMED} more" if len(some) > NAMED else ""
            reason.append(f"adds {', '.join(some[:NAMED])}{more} to pass {number}")
        left = passed_over
    index = np.array(picked, dtype=np.int64)
    eligible = np.array(order, dtype=np.int64)
    return Picks(index, np.array(gain, dtype=float), stratum, reason, len(sets) - len(there), shortfall(index, eligible, limit))
