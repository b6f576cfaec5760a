"""What is missing for an answer: seeds, items, or both."""

from collections.abc import Callable, Iterable
from functools import partial
from math import inf, isfinite, sqrt

import numpy as np
from scipy import optimize, special

from curate.comparison.statistics import Difference, half_width, t_quantile

MOST_SEEDS = 100
MOST_WIDENING = 2.0  # of an interval by few seeds, where they are enough
MOST_ITEMS = 100  # times the present number


def enough_seeds(seeds: int, family: int, *, alpha: float = 0.05) -> str | None:
    """One sentence where these are too few seeds for a family of so many comparisons; None where they are enough.

    They are enough where the t t_quantile at alpha / family, with seeds - 1 degrees of freedom, is at most twice the normal
    one: noise between seeds then costs at most twice the width, and the error rate at that level stays above half of
    the nominal. From two seeds on fewer make no answer false; they leave more undecided. Raises ValueError for no seed.
    """
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1, not {seeds}")
    level = alpha / max(family, 1)
    needed = next(s for s in range(2, 1000) if _wider(s, level) <= MOST_WIDENING)
    if seeds >= needed:
        return None
    among = f"among {family} comparisons" if family > 1 else "for one comparison"
    if seeds == 1:
        return f"1 seed says nothing of how seeds vary, so every answer is undecided: {among} it takes {needed} seeds or more."
    return (
        f"{seeds} seeds are few {among}: where the seeds make the noise, a difference must be {_wider(seeds, level):.1f} times "
        f"as large as with many seeds to be called better or worse, so more stays undecided; {needed} seeds or more are enough."
    )


def _wider(seeds: int, level: float) -> float:
    """How much wider few seeds make an interval, at most."""
    return float(t_quantile(level, seeds - 1.0) / t_quantile(level, inf))


def what_it_would_take(difference: Difference, *, alpha: float, power: float = 0.8, family: int) -> str:
    """One sentence: about how many more seeds or items would decide an effect of the observed size, with this power.

    Takes the observed mean and variances as if they were true, and the level alpha / `family` of Holm's first step. So
    it is a plan, not a promise: an effect that looks large by luck needs more. Looks no further than 100 seeds and 100
    times the items.
    """
    d, level = difference, alpha / max(family, 1)
    if d.n_seeds == 1:
        return "With 1 seed nothing is known of how seeds vary: run at least 3, better 5."
    if not isfinite(d.se):
        return "With 1 evaluation item nothing is known of how items vary: evaluate on at least 100."
    if d.p_value <= level:
        return f"Nothing more: {d.n_seeds} seeds and {d.n_items:,} items decide a difference of {d.mean:.2g}."
    if d.mean == 0:
        return "No number of seeds or items would decide it: the observed difference is exactly 0."

    def enough(seeds: int, items: int) -> bool:
        return _power(d, abs(d.mean), seeds, items, level) >= power

    most = MOST_ITEMS * d.n_items
    seeds = seeds_to_decide(d, alpha=alpha, power=power, family=family) or 0
    items = _smallest(lambda i: enough(d.n_seeds, i), d.n_items + 1, most)
    effect = f"To decide a difference of {d.mean:.2g} with {power:.0%} power at the level {level:.2g}"
    if seeds or items:
        ways = [_more(seeds, d.n_seeds, "seed")] if seeds else []
        ways += [_more(_rounded_up(items), d.n_items, "item")] if items else []
        other = "" if seeds and items else f"; more {'items' if seeds else 'seeds'} alone would not do"
        return f"{effect} it takes about {', or '.join(ways)}{other}."
    both = _cheapest(enough, range(d.n_seeds + 1, MOST_SEEDS + 1), d.n_items + 1, most)
    if both:
        return (
            f"{effect} it takes about {_more(both[0], d.n_seeds, 'seed')} and "
            f"{_more(_rounded_up(both[1]), d.n_items, 'item')}; neither alone would do."
        )
    least = _detectable(d, MOST_SEEDS, most, level, power)
    return (
        f"No realistic number of seeds or items would decide it: the observed difference is {d.mean:.2g}, and even "
        f"{MOST_SEEDS} seeds and {most:,} items detect nothing under {least:.2g}."
    )


def seeds_to_decide(difference: Difference, *, alpha: float, power: float = 0.8, family: int) -> int | None:
    """How many seeds would decide the observed difference on the same items, with this power; None where not even 100 would."""
    d = difference
    if not isfinite(d.se) or d.mean == 0:
        return None
    level = alpha / max(family, 1)
    enough = lambda seeds: _power(d, abs(d.mean), seeds, d.n_items, level) >= power  # noqa: E731
    return _smallest(enough, d.n_seeds + 1, MOST_SEEDS) or None


def _power(d: Difference, effect: float, seeds: int, items: int, level: float) -> float:
    """How often a test at this level finds the effect, were the variances of `d` true; V_S spreads as it does for few seeds."""
    by_seed = d.var_seed / seeds + d.var_residual / (seeds * items)
    by_item = d.var_item / items
    se = sqrt(by_seed + by_item)
    if se == 0:
        return float(effect > 0)
    spread = special.gammaincinv((seeds - 1) / 2, (np.arange(200) + 0.5) / 200) / ((seeds - 1) / 2)  # chi^2 / (seeds - 1)
    half = half_width(((by_seed * spread, seeds - 1.0), (by_item, items - 1.0)), level)
    return float(np.mean(special.ndtr((effect - half) / se) + special.ndtr((-effect - half) / se)))


def _detectable(d: Difference, seeds: int, items: int, level: float, power: float) -> float:
    """The smallest effect found with this power, were the variances of `d` true."""
    high = 1e-12
    while _power(d, high, seeds, items, level) < power:
        high *= 2
    return float(optimize.brentq(lambda effect: _power(d, effect, seeds, items, level) - power, 0.0, high))


def _smallest(enough: Callable[[int], bool], low: int, high: int) -> int:
    """A number from `low` to `high` that is enough, the smallest where all after it are too; 0 if `high` is not."""
    if low > high or not enough(high):
        return 0
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low


def _cheapest(enough: Callable[[int, int], bool], seeds: Iterable[int], low: int, high: int) -> tuple[int, int] | None:
    """The seeds and items that are enough and whose product, the number of evaluations, is smallest."""
    pairs = [(s, _smallest(partial(enough, s), low, high)) for s in seeds]
    return min((pair for pair in pairs if pair[1]), key=lambda pair: pair[0] * pair[1], default=None)


def _rounded_up(number: int) -> int:
    unit = 10 ** max(len(str(number)) - 2, 0)
    return -(-number // unit) * unit


def _more(wanted: int, present: int, what: str) -> str:
    return f"{wanted - present:,} more {what}{'s' if wanted - present > 1 else ''} ({wanted:,} in all)"
