"""A year of nights under the null promotes by luck in at most alpha of all years; a real gain is promoted."""

import numpy as np
import pytest
from scipy import stats

from curate.comparison.promotion import YEAR, decide, level
from curate.comparison.statistics import half_width, paired_difference
from curate.errors import InputError

SERIES = ("even", "slow", "basel")


@pytest.mark.parametrize("spending", SERIES)
def test_what_is_spent_sums_to_alpha(spending):
    levels = [level(n, 0.05, spending) for n in range(1, 200_001)]
    assert all(a >= b > 0 for a, b in zip(levels, levels[1:]))
    assert sum(levels[:YEAR]) <= 0.05 * (1 + 1e-12)
    if spending != "even":  # of `slow` the rest of the sum is the integral of n^-1.1 from there on
        rest = 0.05 * 10 * 200_000.5**-0.1 / 10.584448464950 if spending == "slow" else 0.05 * 6 / np.pi**2 / 200_000.5
        assert sum(levels) + rest == pytest.approx(0.05, rel=1e-6)


def test_levels_by_hand():
    assert level(1, 0.05, "basel") == pytest.approx(0.030396, rel=1e-4) and level(2, 0.05, "basel") == pytest.approx(
        0.0075991, rel=1e-4
    )
    assert level(7, 0.073, "even") == pytest.approx(0.0002)
    assert level(1, 0.05, "slow") == pytest.approx(0.0047239, rel=1e-4)
    for wrong in ((0, 0.05), (1, 0.0), (1, 0.5)):
        with pytest.raises(InputError):
            level(*wrong)


def false_promotions(levels: np.ndarray, seeds: int, share: float, years: int, rng: np.random.Generator) -> float:
    """The share of years with at least one promotion, where candidates are as good as what is accepted.

    Drawn from the model of `statistics.py`: the estimate has a part of the seeds, of which `share` is its variance, and one of
    100 items; each night draws anew. levels [nights].
    """
    shape = (years, len(levels))
    parts = [
        (share * rng.chisquare(seeds - 1, shape) / (seeds - 1), seeds - 1.0),
        ((1 - share) * rng.chisquare(99, shape) / 99, 99.0),
    ]
    half = np.stack([half_width([(v[:, n], f) for v, f in parts], 2 * a) for n, a in enumerate(levels)], axis=1)
    return float((rng.standard_normal(shape) > half).any(axis=1).mean())


@pytest.mark.parametrize("spending", SERIES)
@pytest.mark.parametrize("seeds, share", [(3, 1.0), (5, 0.5), (8, 0.2)])
def test_a_year_of_nights_does_not_promote_by_luck(spending, seeds, share):
    """At alpha 0.2, so that 1,500 years tell: a standard error of 1%."""
    rng = np.random.default_rng(1)
    levels = np.array([level(n, 0.2, spending) for n in range(1, YEAR + 1)])
    assert (
        false_promotions(levels, seeds, share, 1500, rng) <= 0.2 * 1.09 + 0.03
    )  # 1.09: what the interval may exceed its level by
    assert false_promotions(np.full(YEAR, 0.05), seeds, share, 100, rng) > 0.9  # each night at 5%: the year is lost


def arms(gain: float, rng: np.random.Generator, seeds: int = 8, items: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Losses [seeds, items] of a candidate that is better by `gain`, and of what is accepted."""
    shared = rng.normal(2, 0.3, (seeds, items))
    return shared - gain + rng.normal(0, 0.02, (seeds, 1)) + rng.normal(0, 0.1, (seeds, items)), shared


def decided(gain: float, a: float, rng: np.random.Generator, lower: bool = True):
    candidate, accepted = arms(gain, rng)
    difference = paired_difference(candidate, accepted, np.ones(60), ["s"] * 60)
    return decide(
        difference if lower else paired_difference(-candidate, -accepted, np.ones(60), ["s"] * 60), a, lower_is_better=lower
    )


def test_the_bound_is_above_0_where_the_p_value_is_below_the_level():
    rng = np.random.default_rng(0)
    found = [decided(gain, a, rng) for gain in (-0.05, 0.0, 0.02, 0.05) for a in (1e-4, 0.05, 0.2) for _ in range(20)]
    assert all(one.promote == (one.low > 0) == (one.p_value < one.level) for one in found)
    assert any(one.promote for one in found) and not all(one.promote for one in found)
    assert all(one.gain >= one.low for one in found)
    assert not any(one.promote for one in found[:60])  # worse by more than chance


def test_one_sided_at_its_level():
    """Of candidates as good as what is accepted a share of `level` is promoted, and not of half or twice that."""
    rng = np.random.default_rng(3)
    share = np.mean([decided(0.0, 0.1, rng).promote for _ in range(1000)])
    assert abs(share - 0.1) < 3 * np.sqrt(0.1 * 0.9 / 1000)


def test_better_is_what_the_metric_says():
    rng = np.random.default_rng(5)
    assert decided(0.2, 1e-3, rng).promote and decided(0.2, 1e-3, rng, lower=False).promote
    assert not decided(-0.2, 1e-3, rng).promote and not decided(-0.2, 1e-3, rng, lower=False).promote


def test_the_t_interval_where_seeds_are_all():
    """Three seeds, items alike: the bound is gain - t_2 se."""
    by_seed = np.array([[0.30], [0.32], [0.37]])
    difference = paired_difference(2 - np.repeat(by_seed, 4, 1), np.full((3, 4), 2.0), np.ones(4), ["s"] * 4)
    se = by_seed.std(ddof=1) / np.sqrt(3)
    assert decide(difference, 0.01, lower_is_better=True).low == pytest.approx(0.33 - stats.t.isf(0.01, 2) * se, rel=1e-6)


def test_what_is_not_known_promotes_nothing():
    one_seed = paired_difference([[1.0, 1.0]], [[2.0, 3.0]], np.ones(2), ["s", "s"])
    found = decide(one_seed, 0.05, lower_is_better=True)
    assert not found.promote and found.gain == 1.5 and np.isnan([found.low, found.p_value]).all()
