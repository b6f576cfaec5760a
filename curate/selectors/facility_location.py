"""Rows that together represent all rows; that represent a target as well; or what existing data does not represent."""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curate.budget import Limit
from curate.selectors.coverage import Coverage
from curate.selectors.kernels import Kernel, as_kernel
from curate.selectors.lazy_greedy import lazy_greedy, stochastic_greedy
from curate.selectors.picks import Picks, take

Greedy = Literal["lazy", "stochastic"]


def facility_location(kernel: Any, limit: Limit, **options: Any) -> Picks:
    """Greedy picks A that maximise f(A) = sum_i max_{j in A} s_ij: every row has something like it among the picks.

    kernel  s [n, m]: row i is represented, column j can be picked; an array, a scipy.sparse matrix (missing is 0) or
            `curate.selectors.kernels.Vectors`. Entries below 0 represent nothing. Columns are the rows of `limit`.

    Options: `null` bool [m], columns that cannot be picked; `greedy` `lazy` (exact) or `stochastic` with `eps` (0.1) and a
    numpy Generator `rng`; `alone` float [m], f of each column alone where it is known (`Coverage.alone`).

    A budget of rows takes the largest gain first, one of tokens the largest gain per token (a row of no tokens counts one),
    until the next would exceed the budget; so a smaller budget gives a prefix of a larger one (not with `stochastic`). Ties go
    to the lower index. `gain` is the marginal gain; where it falls to 0, picking goes on by index. Raises ValueError for a
    kernel that is not finite or not [n, m].
    """
    return _picks(as_kernel(kernel), limit, **options)


def mutual_information(
    kernel: Any,
    target: ArrayLike | None,
    limit: Limit,
    *,
    eta: float = 1.0,
    form: Literal["paper", "code"] = "paper",
    **options: Any,
) -> Picks:
    """Greedy picks that represent all rows and serve a target, by the mutual information of facility location.

    paper  f(A) = sum_i max_{j in A} s_ij + eta sum_{j in A} target_j; target [m]: max_q s_qj, how well column j represents its
           best target row (arXiv 2411.04425).
    code   f(A) = sum_i min(max_{j in A} s_ij, eta target_i); target [n]: max_q s_iq, how well the target represents row i. It
           saturates: when the target is covered all gains are 0. This is what the authors' code maximises.

    kernel, options and errors: as for `facility_location`, which it is without a target (None).
    """
    found = as_kernel(kernel)
    if form not in ("paper", "code"):
        raise ValueError(f"form must be paper or code, not {form!r}")
    if target is None:
        return _picks(found, limit, **options)
    if form == "paper":
        return _picks(found, limit, bonus=eta * _numbers(target, found.shape[1], "column"), **options)
    return _picks(found, limit, cap=eta * _numbers(target, found.shape[0], "row"), **options)


def conditional_gain(kernel: Any, existing: ArrayLike | None, limit: Limit, *, nu: float = 1.0, **options: Any) -> Picks:
    """Greedy picks that represent what existing data does not: f(A) = sum_i max(max_{j in A} s_ij - nu existing_i, 0).

    existing [n]: max_e s_ie, how well existing data represents row i; below 0 counts as 0. Source: arXiv 2411.04425.

    kernel, options and errors: as for `facility_location`, which it is without existing data (None).
    """
    found = as_kernel(kernel)
    if existing is None:
        return _picks(found, limit, **options)
    return _picks(found, limit, covered=nu * _numbers(existing, found.shape[0], "row"), **options)


def _numbers(given: ArrayLike, size: int, what: str) -> NDArray[np.float64]:
    numbers = np.asarray(given, dtype=np.float64)
    if numbers.shape != (size,):
        raise ValueError(f"one number per {what} of the kernel is wanted, {size}, not {numbers.shape}")
    return numbers


def _picks(
    kernel: Kernel,
    limit: Limit,
    *,
    null: NDArray[np.bool_] | None = None,
    greedy: Greedy = "lazy",
    eps: float = 0.1,
    rng: np.random.Generator | None = None,
    covered: NDArray | None = None,
    cap: NDArray | None = None,
    bonus: NDArray | None = None,
    alone: NDArray | None = None,
) -> Picks:
    n = limit.costs.size
    if kernel.shape[1] != n:
        raise ValueError(f"a kernel of {kernel.shape[1]} columns for {n} costs")
    if greedy not in ("lazy", "stochastic"):
        raise ValueError(f"greedy must be lazy or stochastic, not {greedy!r}")
    eligible = np.arange(n) if null is None else np.flatnonzero(~np.asarray(null))
    if len(eligible) < n:
        kernel = kernel.only(eligible)
        bonus, alone = (None if a is None else a[eligible] for a in (bonus, alone))
    costs = limit.costs[eligible]
    priced = costs if limit.unit == "tokens" else None
    coverage = Coverage(kernel, covered=covered, cap=cap, bonus=bonus, alone=alone)
    if greedy == "lazy":
        steps = lazy_greedy(coverage, priced)
    elif rng is None:
        raise ValueError("stochastic greedy needs a generator, rng")
    else:
        size = limit.capacity / (costs.mean() if costs.any() else 1)
        steps = stochastic_greedy(coverage, int(min(max(size, 1), n)), rng, eps=eps, costs=priced)
    index, gains, said = take(steps, eligible, limit)
    return Picks(index, gains, [None] * len(index), [f"gain {gain:.6g}" for gain in gains], n - len(eligible), said)
