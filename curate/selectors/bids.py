"""Balanced and influential data selection: each pick helps the target that the picks so far serve least (arXiv 2501.12147)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curate.budget import Limit
from curate.selectors.influence import best_subtask
from curate.selectors.picks import Picks, shortfall

FLAT = 1e-12  # a column of no more standard deviation says nothing

Rule = Literal["max", "argmin_task"]
Baseline = Literal["task_max", "sum", "instance_max"]


def standardised(matrix: ArrayLike) -> NDArray[np.float64]:
    """float64 [n, v']: each column less its mean, over its standard deviation, over the rows [n, v] that are finite throughout.

    Columns that are nowhere a number or have no spread are left out; rows with a NaN elsewhere are NaN.
    """
    return _columns(matrix, normalise=True)[0]


def _columns(matrix: ArrayLike, *, normalise: bool) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.bool_]]:
    """(float64 [n, v'] the columns that are read, int64 [v'] which they are, bool [n] which rows are null)."""
    values = np.asarray(matrix, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"influences of rows on targets are a matrix, not of shape {values.shape}")
    kept: NDArray[np.int64] = np.flatnonzero(~np.isnan(values).all(axis=0)).astype(np.int64)
    null: NDArray[np.bool_] = np.ones(len(values), dtype=bool)
    if len(kept):
        null[:] = ~np.isfinite(values[:, kept]).all(axis=1)
    if null.all():
        return np.full((len(values), 0), np.nan), kept[:0], null
    some = values[~null]
    if normalise:
        kept = kept[some[:, kept].std(axis=0) > FLAT]
        some = (some[:, kept] - some[:, kept].mean(axis=0)) / some[:, kept].std(axis=0)
    else:
        some = some[:, kept]
    out = np.full((len(values), len(kept)), np.nan)
    out[~null] = some
    return out, kept, null


def bids(matrix: ArrayLike, limit: Limit, *, rule: Rule = "max", normalise: bool = True) -> Picks:
    """Greedy picks by influence [n, v] of rows on targets, until the next pick would exceed the budget.

    The matrix is standardised by column first, unless not to `normalise`. With z its entries and m the mean of z over the picks
    so far (0 before the first), `max` takes the row with the largest max_j (z_ij - m_j); `argmin_task` the row with the largest
    z_ij for the target j of least m_j, an ablation of the paper. A row with a NaN is null. Ties go to the lower index, then to
    the earlier target. `gain` is what was largest.

    A pick costs O(v): max_i max_j (z_ij - m_j) is max_j (max_i z_ij - m_j), and each column is sorted once.
    Raises ValueError unless there is one row per cost, and for an unknown rule.
    """
    if rule not in ("max", "argmin_task"):
        raise ValueError(f"rule must be max or argmin_task, not {rule!r}")
    z, names, null = _columns(matrix, normalise=normalise)
    if len(z) != limit.costs.size:
        raise ValueError(f"{z.shape} influences for {limit.costs.size} costs")
    eligible = np.flatnonzero(~null)
    z = z[eligible]
    if not z.shape[1]:
        z = np.zeros((len(eligible), 1))  # no target tells rows apart: the lower index goes first
    picked, gain, why = _greedy(z, limit.costs[eligible], limit.capacity, rule)
    index = eligible[picked]
    return Picks(
        index=index,
        gain=gain,
        stratum=[None] * len(index),
        reason=[f"helps target {names[j]} most" if len(names) else "all rows are alike" for j in why],
        nulls=int(null.sum()),
        shortfall=shortfall(index, eligible, limit),
    )


def baseline(matrix: ArrayLike, rule: Baseline, tasks: Sequence[str | None], *, normalise: bool = True) -> NDArray[np.float64]:
    """float64 [n]: a score of each row by itself, what the paper holds its rule against; NaN for a row with a NaN.

    matrix [n, v], standardised by column unless not to `normalise`; tasks [v]: what each target is of. `task_max`: the mean over
    the targets of a task, and of the tasks the largest (LESS); `sum`: over all targets; `instance_max`: the largest of all.
    Raises ValueError for an unknown rule.
    """
    z, names, null = _columns(matrix, normalise=normalise)
    if rule not in ("task_max", "sum", "instance_max"):
        raise ValueError(f"rule must be task_max, sum or instance_max, not {rule!r}")
    found = np.where(null, np.nan, 0.0)
    if len(names) and rule == "task_max":
        found[~null] = best_subtask(z[~null], [tasks[j] for j in names])
    elif len(names):
        found[~null] = z[~null].sum(axis=1) if rule == "sum" else z[~null].max(axis=1)
    return found


def _greedy(
    z: NDArray[np.float64], costs: NDArray[np.float64], capacity: float, rule: Rule
) -> tuple[NDArray[np.int64], NDArray[np.float64], list[int]]:
    """Positions in z, the gain of each pick, and the column it was picked for."""
    n, columns = z.shape
    order = np.argsort(-z, axis=0, kind="stable")  # best first in each column, ties by index
    top = np.zeros(columns, dtype=np.int64)  # of each column, the place in its order of the best row left
    each = np.arange(columns)
    left, total, spent = np.ones(n, dtype=bool), np.zeros(columns), 0.0
    picked: list[int] = []
    gains: list[float] = []
    why: list[int] = []
    while len(picked) < n:
        best = order[top, each]
        mean = total / max(1, len(picked))
        if rule == "max":
            offered = z[best, each] - mean
            tied = np.flatnonzero(offered == offered.max())
            column = int(tied[np.argmin(best[tied])])
        else:
            offered = z[best, each]
            column = int(np.argmin(mean))
        row = int(best[column])
        if spent + costs[row] > capacity:
            break
        spent += costs[row]
        picked.append(row)
        gains.append(float(offered[column]))
        why.append(column)
        left[row] = False
        total += z[row]
        behind = each[~left[order[np.minimum(top, n - 1), each]]]
        while len(behind) and len(picked) < n:
            top[behind] += 1
            behind = behind[~left[order[top[behind], behind]]]
    return np.array(picked, dtype=np.int64), np.array(gains), why
