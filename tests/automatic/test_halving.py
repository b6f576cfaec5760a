"""Who goes on from a rung, and why: known answers."""

import numpy as np
import pytest

from curate.automatic.halving import Candidate, cut, difference_of, sizes, standings
from curate.comparison.statistics import paired_difference

A, B, C, D = (Candidate(name, "10%") for name in "abcd")
WEIGHTS, STRATA = np.full(4, 0.25), ["s"] * 4


def ranked(values, **more):
    given = {candidate: np.full((2, 4), value) for candidate, value in values.items()}
    random = {"10%": np.full((2, 4), 1.0), "5%": np.full((2, 4), 1.5)}
    return standings(given, random, WEIGHTS, STRATA, **{"keep": 2, **more})


def test_the_best_go_on_and_random_is_never_ranked():
    found = ranked({A: 1.3, B: 0.8, C: 1.1, D: 0.9})
    assert [(s.candidate.method, s.kept) for s in found] == [
        ("b", True), ("d", True), ("c", False), ("a", False), ("random", None), ("random", None),
    ]  # fmt: skip
    assert cut(found) == 0.9
    assert [s.diff for s in found[:4]] == pytest.approx([-0.2, -0.1, 0.1, 0.3])
    assert [(s.candidate.budget, s.value, s.diff) for s in found[4:]] == [("10%", 1.0, None), ("5%", 1.5, None)]


def test_higher_may_be_better():
    found = ranked({A: 1.3, B: 0.8, C: 1.1}, keep=1, lower_is_better=False)
    assert [s.candidate for s in found if s.kept] == [A] and cut(found) == 1.3


def test_equal_values_keep_the_order_given():
    assert [s.candidate for s in ranked({C: 1.0, A: 1.0, B: 1.0}) if s.kept] == [C, A]


def test_nobody_falls_where_all_may_go_on():
    found = ranked({A: 1.3, B: 0.8}, keep=3)
    assert all(s.kept for s in found[:2]) and cut(found) is None


def test_each_is_held_against_random_at_its_own_budget():
    small = Candidate("a", "5%")
    found = {s.candidate: s for s in ranked({A: 1.3, small: 1.3})}
    assert found[A].diff == pytest.approx(0.3) and found[small].diff == pytest.approx(-0.2)


def test_differences_are_paired():
    """Noise that random shares goes: the interval is of the difference alone."""
    rng = np.random.default_rng(0)
    common = 10 * rng.standard_normal((3, 40))
    mine = common + 0.5 + 0.1 * rng.standard_normal((3, 40))
    [found, _] = standings({A: mine}, {"10%": common}, np.full(40, 1 / 40), ["s"] * 40, keep=1)
    right = paired_difference(mine, common, np.full(40, 1 / 40), ["s"] * 40)
    assert (found.diff, found.ci_low, found.ci_high) == (right.mean, right.ci_low, right.ci_high)
    assert found.ci_high - found.ci_low < 0.3


def test_one_seed_has_an_interval_over_items_alone():
    """That of a t test over the items' differences, when they weigh the same and lie in one source."""
    from scipy import stats

    rng = np.random.default_rng(1)
    mine, control = rng.standard_normal((1, 30)) + 1, rng.standard_normal((1, 30))
    found = difference_of(mine, control, np.full(30, 1 / 30), ["s"] * 30)
    low, high = stats.ttest_rel(mine[0], control[0]).confidence_interval(0.95)
    assert (found.ci_low, found.ci_high) == pytest.approx((low, high), rel=1e-3)


def test_how_many_stand_on_each_rung():
    assert [sizes(12, n) for n in (1, 2, 3)] == [[12], [12, 4], [12, 6, 3]]
    assert sizes(8, 3) == [8, 4, 2] and sizes(2, 1) == [2] and sizes(27, 3) == [27, 9, 3]
    assert all(
        a > b for n in range(2, 60) for a, b in zip(sizes(n, max(1, int(np.log2(n)))), [*sizes(n, int(np.log2(n)))[1:], 1])
    )
