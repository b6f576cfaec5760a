"""May a candidate take the place of what is accepted? A rule that keeps its promise over a year of such questions.

The rule. Test n asks at its own level a_n: the candidate is promoted when the lower bound of the one-sided interval of "better
than accepted" at that level is above 0. The interval is that of `statistics.py`, the two-sided one at 2 a_n, and its bound lies
above 0 where the one-sided p-value lies below a_n.

The promise. Whatever the tests have to do with each other, the chance that any of them promotes a candidate that is no better
is at most the sum of the levels, as far as each keeps its own (Bonferroni; alpha-spending, Foster and Stine 2008). So a series
a_1, a_2, ... with sum alpha keeps it at alpha:

    even    alpha / 365: at most alpha for any 365 tests in a row. It goes on so, and each further 365 tests spend alpha again.
    slow    alpha / (zeta(1.1) n^1.1), for all tests that will ever be made: zeta(1.1) = 10.58.
    basel   alpha 6 / (pi^2 n^2), for all tests too: most is spent in the first week.

What a series costs is power: benchmarks/promotion_power.py says how often a better candidate is promoted, by when it came.
"""

from dataclasses import dataclass
from math import isfinite, pi
from typing import Literal

import numpy as np
from scipy import special

from curate.comparison.evidence import Evidence
from curate.comparison.judging import item_weights
from curate.comparison.statistics import Difference, paired_difference
from curate.comparison.tables import lower_is_better
from curate.errors import InputError

Spending = Literal["even", "slow", "basel"]
YEAR = 365  # tests over which `even` spends alpha
_POWER = 1.1
_ZETA = float(special.zeta(_POWER))


def level(test: int, alpha: float, spending: Spending = "even") -> float:
    """The level of a test, a number from 1: what of `alpha` it spends. Raises InputError for what makes no sense."""
    if test < 1:
        raise InputError(f"tests are numbered from 1, not {test}")
    if not 0 < alpha < 0.5:
        raise InputError(f"alpha must lie between 0 and 0.5, not {alpha}")
    if spending == "even":
        return alpha / YEAR
    return alpha * 6 / (pi * test) ** 2 if spending == "basel" else alpha / (_ZETA * test**_POWER)


@dataclass(frozen=True)
class Promotion:
    """The answer of one test. gain and low in the unit of the metric, above 0 where the candidate is better.

    gain      how much better the candidate is
    low       the lower bound of the interval of that at `level`, one-sided; NaN where nothing is known of how it varies
    p_value   one-sided; NaN likewise
    """

    promote: bool
    gain: float
    low: float
    p_value: float
    level: float


def decide(difference: Difference, level: float, *, lower_is_better: bool) -> Promotion:
    """Whether a candidate is better than what is accepted at this level. difference: candidate minus accepted.

    Not where nothing is known of how the difference varies (one seed, or one item). Raises ValueError for a level that is none.
    """
    if not 0 < level < 0.5:
        raise ValueError(f"the level must lie between 0 and 0.5, not {level}")
    gain = -difference.mean if lower_is_better else difference.mean
    if not isfinite(difference.se):
        return Promotion(False, gain, float("nan"), float("nan"), level)
    low = gain - difference.half_width(2 * level)
    p_value = difference.p_value / 2 if gain > 0 else 1 - difference.p_value / 2
    return Promotion(low > 0, gain, low, p_value, level)


def between(evidence: Evidence, one: str, other: str) -> Difference:
    """Arm `one` minus arm `other` on the primary evaluation set, paired over seeds and items as a verdict pairs them.

    Raises InputError where a comparison has no such arms, or not for the same seeds.
    """
    task = evidence.measures[0]
    values: dict[str, dict[int, np.ndarray]] = {one: {}, other: {}}
    for arm, result in evidence.results.items():
        if arm.method in values:
            values[arm.method][arm.seed] = result.values(task.name)
    seeds = sorted(values[one])
    if not seeds or seeds != sorted(values[other]):
        raise InputError(f"{one} and {other} were not both trained for the same seeds")
    weights, strata = item_weights(task, next(iter(evidence.results.values())))
    first, second = (np.stack([values[name][seed] for seed in seeds]) for name in (one, other))
    return paired_difference(first, second, weights, strata)


def better_is_lower(evidence: Evidence) -> bool:
    """Whether a smaller value of the primary evaluation set is the better one."""
    return lower_is_better(evidence.measures[0].metric)
