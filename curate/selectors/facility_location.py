"""Rows that together represent all rows; that serve a target as well; or that represent what existing data does not."""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curate.budget import Limit
from curate.selectors.bound import Bound, bound
from curate.selectors.coverage import Coverage
from curate.selectors.greedy import exact_greedy, stochastic_greedy
from curate.selectors.picks import Picks, take
from curate.selectors.staged import MAX_PAIRS, NEIGHBOURS, Staged
from curate.selectors.vector_kernel import Vectors

Greedy = Literal["lazy", "stochastic"]


def facility_location(kernel: Any, limit: Limit, **options: Any) -> Picks:
    """Greedy picks A that maximise f(A) = sum_i max_{j in A} s_ij: every row has something like it among the picks.

    kernel  s [n, m]: row i is represented, column j can be picked; an array, a scipy.sparse matrix (missing is 0) or
            `curate.selectors.vector_kernel.Vectors`. Entries below 0 represent nothing. Columns are the rows of `limit`.

    options and errors: those of `maximise`.
    """
    return maximise(Coverage(kernel), limit, **options)


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

    paper  f(A) = sum_i max_{j in A} s_ij + eta sum_{j in A} target_j; target [m]: max_q s_qj, how well column j represents the
           target row that it represents best (arXiv 2411.04425).
    code   f(A) = sum_i min(max_{j in A} s_ij, eta target_i); target [n]: max_q s_iq, how well the target represents row i. It
           saturates: when the target is used up all gains are 0. This is what the authors' code maximises.

    The rest as for `facility_location`, which it is without a target (None).
    """
    return maximise(Coverage.of_target(kernel, target, eta=eta, form=form), limit, **options)


def conditional_gain(kernel: Any, existing: ArrayLike | None, limit: Limit, *, nu: float = 1.0, **options: Any) -> Picks:
    """Greedy picks that represent what existing data does not: f(A) = sum_i max(max_{j in A} s_ij - nu existing_i, 0).

    existing [n]: max_e s_ie, how well existing data represents row i; below 0 counts as 0. Source: arXiv 2411.04425.

    The rest as for `facility_location`, which it is without existing data (None).
    """
    return maximise(Coverage.beyond(kernel, existing, nu=nu), limit, **options)


def maximise(
    coverage: Coverage,
    limit: Limit,
    *,
    null: NDArray[np.bool_] | None = None,
    greedy: Greedy = "lazy",
    eps: float = 0.1,
    rng: np.random.Generator | None = None,
    neighbours: int = NEIGHBOURS,
    max_pairs: float = MAX_PAIRS,
    bounded: bool = False,
) -> Picks:
    """Picks by greedy: for a budget of rows the largest gain first, for one of tokens the largest gain per token.

    null    bool [n], rows of the limit that cannot be picked; the kernel has a column for every row, or for the others alone.
    greedy  lazy: exact. stochastic: the best of a sample at each step, with `eps` and the generator `rng`, see
            `stochastic_greedy`; a budget of tokens expects rows of mean length.
    neighbours, max_pairs  of vectors whose kernel cannot be held, see `Staged`: lazy greedy is approximate then.
    bounded whether `notes` say how much of the best possible coverage the picks reach at least, see `bound`. Not of stochastic
            greedy.

    Picks go on until the next would exceed the budget, so a smaller budget gives a prefix of a larger one (not by samples). A
    row of no tokens counts one. Ties go to the lower index. `gain` is the marginal gain; where it is 0, picking goes on by
    index, and `shortfall` says for how many. `coverage` is left as it is. Raises ValueError for a kernel that is not finite or of
    another size.
    """
    n = limit.costs.size
    if greedy not in ("lazy", "stochastic"):
        raise ValueError(f"greedy must be lazy or stochastic, not {greedy!r}")
    if greedy == "stochastic" and rng is None:
        raise ValueError("stochastic greedy needs a generator, rng")
    eligible = np.arange(n) if null is None else np.flatnonzero(~np.asarray(null))
    if coverage.kernel.shape[1] not in (n, len(eligible)):
        raise ValueError(f"a kernel of {coverage.kernel.shape[1]} columns for {n} costs")
    coverage = coverage.anew(None if coverage.kernel.shape[1] == len(eligible) else eligible)
    costs = limit.costs[eligible]
    priced = costs if limit.unit == "tokens" else None
    staged = None
    if greedy == "stochastic" and rng is not None:
        size = limit.capacity / (costs.mean() if costs.any() else 1)
        steps = stochastic_greedy(coverage, int(min(max(size, 1), n)), rng, eps=eps, costs=priced)
    elif isinstance(coverage.kernel, Vectors) and not coverage.kernel.fits:
        staged = Staged(coverage, priced, neighbours=neighbours, max_pairs=max_pairs)
        steps = iter(staged)
    else:
        steps = exact_greedy(coverage, priced)
    index, gains, said = take(steps, eligible, limit)
    idle = int((gains <= 0).sum())
    if idle and len(index) < len(eligible):  # else there was no choice
        order = "in row order" if greedy == "lazy" else "at random"
        nothing = (
            f"{idle:,} of the {len(index):,} picks gain nothing, as all is represented without them: they were taken {order}."
        )
        said = f"{said} {nothing}" if said else nothing
    places, remarks = np.searchsorted(eligible, index), []
    if staged:
        remarks.append(staged.note())
    if bounded and greedy == "lazy" and len(index):
        some = Limit(costs, limit.capacity, limit.unit)
        remarks.append(str(staged.bound(places, some, rng) if staged else _bound(coverage, places, some)))
    reasons = [f"gain {gain:.6g}" for gain in gains]
    return Picks(index, gains, [None] * len(index), reasons, n - len(eligible), said, remarks=tuple(remarks))


def _bound(coverage: Coverage, picked: NDArray[np.int64], limit: Limit) -> Bound:
    kernel, floor = coverage.known
    return bound(coverage, kernel, floor, picked, coverage.value() + float(coverage.bonus[picked].sum()), limit)
