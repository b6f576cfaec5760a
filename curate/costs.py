"""What a selection costs and gains: when it pays, and the indicators of the survey arXiv 2406.14115. Pure functions.

The survey compares with training on everything. Its map to a common scale was fitted to scores of benchmarks (shares and win
rates, higher is better), so a loss has an `improvement`, its ratio the other way round, but no mapped one and no efficiency:
nats have another zero, and the anchors say nothing of them. None is what is not defined.
"""

from collections.abc import Sequence
from math import ceil, hypot, isfinite

from curate.errors import InputError

# (improvement ratio, value on the common scale): two methods whose results on both scales the survey knows.
SAME_BENCHMARK = ((0.949, 1.284), (1.01, 1.475))
OTHER_BENCHMARK = ((0.985, 1.344), (1.000, 1.426))
# (share of the pool, value on the common scale): the two methods through which the survey draws its base line.
BASE_LINE = ((0.025, 1.400), (0.06, 1.443))


def break_even(*, selection: float, on_selection: float, without: float) -> int | None:
    """After how many trainings a selection has cost no more than doing without it; None where it never does.

    selection      the cost of choosing, paid once; all costs in one unit (seconds, FLOPs, money), at least 0.
    on_selection   one training on the selection.
    without        one training that comes to the same result without choosing: random picks at equal tokens cost the same, so
                   there a selection must be worth it for its result alone; training on everything is the other end.

    The smallest n of at least 1 with selection + n on_selection <= n without. Raises InputError for a cost below 0 or unknown.
    """
    for name, cost in (("selection", selection), ("on_selection", on_selection), ("without", without)):
        if not (isfinite(cost) and cost >= 0):
            raise InputError(f"the cost {name} must be a number of at least 0, not {cost}")
    saved = without - on_selection
    return max(1, ceil(selection / saved - 1e-9)) if saved > 0 else None


def share(selected: float, pool: float) -> float | None:
    """The survey's SDF, selected dataset fraction: |S| / |D|, in examples or in tokens; None for an empty pool.

    Raises InputError unless 0 <= selected <= pool.
    """
    if not 0 <= selected <= pool:
        raise InputError(f"a selection of {selected} does not fit into a pool of {pool}")
    return selected / pool if pool else None


def improvement(
    selected: Sequence[float], full: Sequence[float], *, lower_is_better: bool | Sequence[bool] = False
) -> float | None:
    """The survey's PIR, performance improvement ratio: the mean over tasks of selected / full; above 1, selecting is better.

    selected, full     the results on each task, in the same order; `full` may also be random picks of the same size.
    lower_is_better    for all or for each: the ratio is then full / selected, so above 1 still means better.

    None for no task, results below 0 or unknown, or a denominator of 0. Raises InputError for lists of unequal length.
    """
    lower = [lower_is_better] * len(selected) if isinstance(lower_is_better, bool) else list(lower_is_better)
    if not len(selected) == len(full) == len(lower):
        raise InputError(f"{len(selected)} results of the selection, but {len(full)} to compare them with")
    pairs = [(f, s) if low else (s, f) for s, f, low in zip(selected, full, lower)]
    if not pairs or not all(isfinite(a) and isfinite(b) and a >= 0 and b > 0 for a, b in pairs):
        return None
    return sum(a / b for a, b in pairs) / len(pairs)


def mapped_improvement(ratio: float | None, *, same_benchmark: bool) -> float | None:
    """The survey's PIR', the `improvement` of scores on a scale common to all benchmarks: a line through two anchors.

    same_benchmark: both models were tested on the benchmark of the scale, else on another. Not for losses (see above).
    """
    return None if ratio is None else _line(SAME_BENCHMARK if same_benchmark else OTHER_BENCHMARK, ratio)


def efficiency(fraction: float | None, mapped: float | None) -> float | None:
    """The signed distance of (SDF, PIR') from the survey's base line; above 0 is better than the line at that share.

    The survey's page measures it in pixels of a canvas, so only the order of methods can be compared with it.
    """
    if fraction is None or mapped is None:
        return None
    (x, y), (right, top) = BASE_LINE
    return (mapped - _line(BASE_LINE, fraction)) / hypot(1, (top - y) / (right - x))


def _line(through: tuple[tuple[float, float], tuple[float, float]], at: float) -> float:
    (x, y), (right, top) = through
    return y + (top - y) / (right - x) * (at - x)
