"""Uniformly random rows: the baseline that every method must beat."""

import numpy as np

from curate.budget import Limit
from curate.selectors.picks import Picks, prefix, shortfall


def shuffle(n: int, limit: Limit, rng: np.random.Generator) -> Picks:
    """Take rows in a uniformly random order, without replacement, until the next would exceed the budget.

    The whole order is drawn whatever the budget, so with one seed a smaller budget gives a prefix of a larger one.
    `gain` is NaN. Raises ValueError unless there are n costs.
    """
    if limit.costs.shape != (n,):
        raise ValueError(f"{n} rows for {limit.costs.size} costs")
    order = rng.permutation(n)
    picked = prefix(order, limit)
    return Picks(
        index=picked,
        gain=np.full(picked.size, np.nan),
        stratum=[None] * picked.size,
        reason=["drawn at random"] * picked.size,
        nulls=0,
        shortfall=shortfall(picked, order, limit),
    )
