"""The rows with the best scores."""

import numpy as np
from numpy.typing import ArrayLike

from curate.budget import Limit
from curate.selectors.picks import Picks, prefix, scores, shortfall


def top_k(values: ArrayLike, limit: Limit, *, largest: bool = True) -> Picks:
    """Take rows by score, best first, until the next would exceed the budget; a smaller budget gives a prefix.

    `values`: float [n], in any unit; NaN is null and left out. `largest=False` takes the lowest first. Ties go to the
    lower index. `gain` is the score. Raises ValueError unless there is one value per cost.
    """
    values = scores(values, limit)
    order = np.argsort(-values if largest else values, kind="stable")
    order = order[~np.isnan(values[order])]
    picked = prefix(order, limit)
    word = "highest" if largest else "lowest"
    return Picks(
        index=picked,
        gain=values[picked],
        stratum=[None] * picked.size,
        reason=[f"rank {rank} by score, {word} first" for rank in range(1, picked.size + 1)],
        nulls=values.size - order.size,
        shortfall=shortfall(picked, order, limit),
    )
