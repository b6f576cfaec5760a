"""A budget divided among several scores, and of each among bins, the rarest first."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curate.budget import Limit
from curate.selectors.picks import Picks, shortfall
from curate.selectors.quota import quota


def by_axes(axes: Mapping[str, ArrayLike], bins: Sequence[str | None], limit: Limit) -> Picks:
    """Give every axis its part of the budget, and inside an axis every bin its share, best rows of the axis first.

    axes  float [n] by name, higher is better; NaN is null on that axis. bins: of each row, such as its style and source.

    Axes choose in turn, each with an equal part of what is left to it and those behind it, among the rows that no axis chose;
    what bins cannot fill goes on to larger ones (`quota`, smallest first). The names of bins play no part. What is left in the
    end goes to the first that has rows. `gain` is the score on the axis that chose, `stratum` that axis.
    Source: arXiv 2503.13383. Raises ValueError without an axis, or unless there is one value and one bin per cost.
    """
    n = limit.costs.size
    values = {name: np.asarray(axis, dtype=np.float64) for name, axis in axes.items()}
    if not values or any(axis.shape != (n,) for axis in values.values()) or len(bins) != n:
        raise ValueError(f"at least one axis, and one value and one bin for each of {n} costs")
    numbers: dict[str | None, str] = {}
    renamed = [numbers.setdefault(name, f"{len(numbers):09}") for name in bins]  # in the order in which they occur
    chosen = np.zeros(n, dtype=bool)
    parts: list[tuple[str, NDArray[np.int64]]] = []
    left = limit.capacity
    for last in (False, True):  # in the end each may take all that is left
        for turn, (name, axis) in enumerate(values.items()):
            part = left if last else left / (len(values) - turn)
            part = float(np.floor(part * (1 + 1e-12))) if limit.unit == "rows" else part
            order = np.argsort(-axis, kind="stable")
            order = order[~np.isnan(axis[order]) & ~chosen[order]]
            found = quota(renamed, order, Limit(limit.costs, part, limit.unit)).index
            chosen[found] = True
            left -= float(limit.costs[found].sum())
            parts.append((name, found))
    index = np.concatenate([found for _, found in parts])
    names = [name for name, found in parts for _ in range(len(found))]
    gain = np.array([values[name][i] for name, i in zip(names, index.tolist())])
    where = [f" in {bins[i]}" if bins[i] is not None else "" for i in index.tolist()]
    reason = [f"among the best by {name}{bin_}" for name, bin_ in zip(names, where)]
    null = np.isnan(np.stack(list(values.values()))).all(axis=0)
    return Picks(index, gain, list(names), reason, int(null.sum()), shortfall(index, np.flatnonzero(~null), limit))
