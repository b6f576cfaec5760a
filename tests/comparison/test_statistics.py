import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from curate.comparison.power import enough_seeds, what_it_would_take
from curate.comparison.statistics import (
    _quadratic_freedom,
    answer,
    half_width,
    holm,
    paired_difference,
    weights_by_source,
)


def draw(rng, seeds, sources, by_seed, by_residual, effect=0.0):
    """D [S, I] whose estimate has variance 1: these shares from seeds and residual, the rest from items."""
    weights = weights_by_source(rng.lognormal(4, 0.7, sources.size), sources)
    unit = math.sqrt((weights**2).sum())
    a = rng.standard_normal((seeds, 1)) * math.sqrt(by_seed * seeds)
    b = rng.standard_normal((1, sources.size)) * math.sqrt(1 - by_seed - by_residual) / unit
    c = rng.standard_normal((seeds, sources.size)) * math.sqrt(by_residual * seeds) / unit
    return effect + a + b + c, weights


def difference_of(d, weights=None, strata=None, **options):
    d = np.asarray(d, dtype=float)
    weights = np.ones(d.shape[1]) if weights is None else weights
    return paired_difference(d, np.zeros_like(d), weights, [0] * d.shape[1] if strata is None else strata, **options)


# paired_difference


def test_two_seeds_by_two_items_by_hand():
    # D = [[1, 3], [2, 8]]: seed means 2 and 5, item means 1.5 and 5.5, mean 3.5, residuals +-1.
    method, control = np.array([[11.0, 3.0], [12.0, 8.0]]), np.array([[10.0, 0.0], [10.0, 0.0]])
    result = paired_difference(method, control, np.array([2.0, 2.0]), ["x", "x"])
    seeds = 4.5 / 2  # variance of (2, 5) is 4.5
    items = 8 / 2  # variance of (1.5, 5.5) is 8
    residual = 4 * 1**2 / (1 * 1) / (2 * 2)  # four squares of 1, one degree of freedom, over S I
    assert result.mean == 3.5
    assert result.se == pytest.approx(math.sqrt(seeds + items - residual))
    # both parts have one degree of freedom: z^2 V + (t^2 - z^2) V (r^k + (1 - r)^k) with k = 1 + z / t
    z, t, share = stats.norm.isf(0.025), stats.t.isf(0.025, 1), seeds / (seeds + items - residual)
    power = 1 + z / t
    half = result.se * math.sqrt(z**2 + (t**2 - z**2) * (share**power + (1 - share) ** power))
    assert (result.ci_low, result.ci_high) == pytest.approx((3.5 - half, 3.5 + half))
    assert stats.t.isf(0.025, result.df) == pytest.approx(half / result.se)
    at_zero = result.p_value / 2
    z, t = stats.norm.isf(at_zero), stats.t.isf(at_zero, 1)
    power = 1 + z / t
    assert pytest.approx(result.se * math.sqrt(z**2 + (t**2 - z**2) * (share**power + (1 - share) ** power)), rel=1e-6) == 3.5
    assert (result.n_seeds, result.n_items) == (2, 2)
    assert result.var_seed == pytest.approx(2 * (seeds - residual))
    assert result.var_item == pytest.approx(2 * (items - residual))
    assert result.var_residual == pytest.approx(4 * residual)


def test_seeds_that_alone_vary_give_the_paired_t_test():
    shift = np.array([0.3, -0.1, 0.9, 0.4])
    result = difference_of(np.repeat(shift[:, None], 7, axis=1))
    textbook = stats.ttest_1samp(shift, 0)
    low, high = textbook.confidence_interval()
    assert result.p_value == pytest.approx(textbook.pvalue)
    assert (result.ci_low, result.ci_high, result.df) == pytest.approx((low, high, 3))


def test_items_that_alone_vary_give_the_t_test_over_items():
    shift = np.random.default_rng(0).standard_normal(30) + 0.3
    result = difference_of(np.repeat(shift[None, :], 3, axis=0))
    textbook = stats.ttest_1samp(shift, 0)
    assert (result.p_value, result.df) == pytest.approx((textbook.pvalue, 29))


def test_strata_do_not_count_the_difference_between_sources_as_noise():
    d = np.array([[0.0, 0.1, 5.0, 5.1], [0.1, 0.0, 5.1, 5.0], [0.0, 0.1, 5.1, 5.0]])
    apart, together = difference_of(d, strata=["a", "a", "b", "b"]), difference_of(d)
    assert apart.mean == together.mean
    assert apart.se < 0.05 < 1 < together.se


def test_a_source_of_one_item_is_joined_with_the_next_smallest():
    d = np.random.default_rng(0).standard_normal((3, 6))
    alone = difference_of(d, strata=["a", "b", "b", "c", "c", "c"])
    assert alone == difference_of(d, strata=["b", "b", "b", "c", "c", "c"])
    two = difference_of(d, strata=["a", "b", "c", "c", "c", "c"])
    assert two == difference_of(d, strata=["a", "a", "c", "c", "c", "c"])


def test_the_components_are_unbiased():
    rng = np.random.default_rng(2)
    sources = np.array([0] * 5 + [1] * 15)
    weights = weights_by_source(rng.lognormal(4, 0.7, 20), sources)
    found = []
    for _ in range(3000):
        a, b, c = rng.standard_normal((4, 1)), 3 * rng.standard_normal(20), 2 * rng.standard_normal((4, 20))
        found.append(difference_of(a + b + c, weights, sources))
    square = (weights**2).sum()
    assert np.mean([f.se**2 for f in found]) == pytest.approx(1 / 4 + (9 + 4 / 4) * square, rel=0.05)
    assert np.mean([f.var_item for f in found]) == pytest.approx(9 * square * 20, rel=0.05)
    assert np.mean([f.var_residual for f in found]) == pytest.approx(4 * square * 20, rel=0.05)


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize(("by_seed", "by_residual"), [(0, 0), (0.3, 0.1), (0.9, 0.05), (0, 0.9)])
def test_false_alarms_and_coverage(seeds, by_seed, by_residual):
    """At most the nominal 5% where nothing differs, within three standard errors of 400 runs (3.3%)."""
    rng = np.random.default_rng(seeds)
    sources = np.arange(60) % 3
    false = covered = 0
    for _ in range(400):
        result = difference_of(*draw(rng, seeds, sources, by_seed, by_residual), sources)
        false += result.p_value <= 0.05
        covered += result.ci_low <= 0 <= result.ci_high
    assert false + covered == 400
    assert false / 400 <= 0.05 + 0.033
    if seeds == 5:
        assert false / 400 >= 0.0075  # conservative, but not a test that never speaks


def error_rate(rule, seeds, items, share, alpha):
    """P(|X| > half) for X of variance 1, by quadrature over both chi^2 of the variances' estimates."""
    at = (np.arange(400) + 0.5) / 400
    by_seed = share * stats.chi2.ppf(at, seeds - 1)[:, None] / (seeds - 1)
    by_item = (1 - share) * stats.chi2.ppf(at, items - 1) / (items - 1)
    return float(np.mean(2 * special.ndtr(-rule(((by_seed, seeds - 1.0), (by_item, items - 1.0)), alpha))))


def satterthwaite(parts, alpha):
    total = sum(v for v, _ in parts)
    freedom = total**2 / sum(v**2 / f for v, f in parts)
    return -special.stdtrit(freedom, alpha / 2) * np.sqrt(total)


def straight(parts, alpha):
    """The formula for one number at a time."""
    total, z = sum(v for v, _ in parts), stats.norm.isf(alpha / 2)
    square = z**2 * total
    for v, f in parts:
        t = stats.t.isf(alpha / 2, f)
        square += (t**2 - z**2) * total * (v / total) ** (1 + z / t)
    return math.sqrt(square)


@given(st.floats(0.001, 10), st.integers(1, 20), st.floats(0.001, 10), st.integers(1, 900), st.sampled_from([0.2, 0.05, 0.004]))
def test_half_width_is_the_formula(first, freedom, second, other, alpha):
    parts = ((first, float(freedom)), (second, float(other)))
    assert half_width(parts, alpha) == pytest.approx(straight(parts, alpha))
    many = half_width(((np.array([first, first]), float(freedom)), (np.array([second, 0.0]), float(other))), alpha)
    assert many == pytest.approx([straight(parts, alpha), stats.t.isf(alpha / 2, freedom) * math.sqrt(first)])


SHARES = (0.0, 0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)


@pytest.mark.parametrize(("seeds", "least"), [(2, 0.016), (3, 0.034), (4, 0.041), (5, 0.045), (7, 0.047), (10, 0.048)])
def test_error_rates_for_known_ratios_of_the_variances(seeds, least):
    rates = [error_rate(half_width, seeds, 800, share, 0.05) for share in SHARES]
    assert least <= min(rates) <= max(rates) <= 0.0515
    for alpha in (0.1, 0.05 / 6, 0.05 / 12):  # and with few items
        for items in (5, 20, 100):
            assert max(error_rate(half_width, seeds, items, share, alpha) for share in SHARES) <= 1.09 * alpha


def test_satterthwaite_would_fail_that():
    assert max(error_rate(satterthwaite, 3, 800, share, 0.05) for share in SHARES) > 0.075
    assert max(error_rate(satterthwaite, 3, 800, share, 0.05 / 6) for share in SHARES) > 3.5 * 0.05 / 6


@pytest.mark.parametrize("family", [1, 3, 6, 12, 30])
def test_seeds_that_are_enough_keep_the_error_rate_near_the_nominal(family):
    level = 0.05 / family
    seeds = next(s for s in range(2, 20) if enough_seeds(s, family) is None)
    assert all(enough_seeds(s, family) is None for s in range(seeds, 20))
    assert f"{seeds} seeds or more" in enough_seeds(seeds - 1, family)
    rates = [error_rate(half_width, seeds, 800, share, level) / level for share in SHARES]
    assert 0.55 <= min(rates) <= max(rates) <= 1.09
    assert -special.stdtrit(seeds - 1, level / 2) <= -2 * special.ndtri(level / 2) < -special.stdtrit(seeds - 2, level / 2)


def test_too_few_seeds_are_said():
    assert "undecided" in enough_seeds(1, 1)
    assert enough_seeds(3, 6).startswith("3 seeds are few among 6 comparisons") and "4.1 times" in enough_seeds(3, 6)
    assert "5 seeds or more" in enough_seeds(3, 6)
    with pytest.raises(ValueError):
        enough_seeds(0, 1)


def test_a_clear_effect_is_found():
    rng = np.random.default_rng(0)
    sources = np.arange(60) % 3
    found = [difference_of(*draw(rng, 5, sources, 0.3, 0.1, effect=5.0), sources).p_value <= 0.05 for _ in range(100)]
    assert np.mean(found) > 0.9


def test_nothing_varies():
    same = np.random.default_rng(0).random((3, 5))
    result = paired_difference(same, same, np.ones(5), ["a"] * 5)
    assert (result.mean, result.se, result.p_value, result.ci_low, result.ci_high) == (0, 0, 1, 0, 0)
    assert answer(result, result.p_value, margin=0.01) == "equivalent"
    shifted = difference_of(np.full((3, 4), -0.5))
    assert (shifted.se, shifted.p_value) == pytest.approx((0, 0), abs=1e-12)
    assert answer(shifted, shifted.p_value, margin=0.01) == "better"


def test_one_seed_or_one_item_decides_nothing():
    for d in ([[1.0, 2.0, 3.0]], [[1.0], [2.0]]):
        result = difference_of(d)
        assert result.mean == pytest.approx(np.mean(d))
        assert all(math.isnan(v) for v in (result.se, result.df, result.ci_low, result.ci_high, result.p_value))
        assert answer(result, holm([result.p_value])[0], margin=10) == "undecided"
    assert math.isnan(difference_of([[1.0, 2.0], [2.0, 3.0]], np.array([1.0, 0.0])).se)


def test_items_of_no_weight_change_nothing_but_their_number():
    d = np.random.default_rng(0).standard_normal((3, 6))
    result = difference_of(d, np.array([1.0, 2, 1, 3, 0, 0]), ["a", "a", "b", "b", "b", "c"])
    kept = difference_of(d[:, :4], np.array([1.0, 2, 1, 3]), ["a", "a", "b", "b"])
    assert (result.mean, result.se, result.p_value) == pytest.approx((kept.mean, kept.se, kept.p_value))


@given(st.integers(2, 8), st.integers(0, 1000))
def test_the_degrees_of_freedom_of_uneven_weights(n, seed):
    rng = np.random.default_rng(seed)
    v = rng.random(n) + 0.01
    v, square = v / v.sum(), v**2
    m = np.eye(n) - np.outer(np.ones(n), v)
    a = m.T @ np.diag(square) @ m
    assert _quadratic_freedom(square, v) == pytest.approx(np.trace(a) ** 2 / np.trace(a @ a))
    assert _quadratic_freedom(np.ones(n), np.ones(n) / n) == pytest.approx(n - 1)


@given(st.integers(2, 6), st.integers(2, 30), st.integers(0, 1000), st.sampled_from([0.8, 0.95, 0.99]))
def test_p_value_interval_and_freedom_agree(seeds, items, seed, confidence):
    d = np.random.default_rng(seed).standard_normal((seeds, items)) + 0.2
    r = difference_of(d, confidence=confidence)
    assert 0 < r.p_value <= 1
    assert (r.p_value <= 1 - confidence) == (not r.ci_low <= 0 <= r.ci_high)
    assert r.ci_high - r.mean == pytest.approx(stats.t.isf((1 - confidence) / 2, r.df) * r.se, rel=1e-6)
    assert min(seeds, items) - 1 <= r.df * (1 + 1e-9)


@pytest.mark.parametrize(
    ("method", "control", "weights", "strata"),
    [
        (np.ones((2, 3)), np.ones((2, 2)), np.ones(3), [0] * 3),
        (np.ones(3), np.ones(3), np.ones(3), [0] * 3),
        (np.ones((2, 0)), np.ones((2, 0)), np.ones(0), []),
        (np.ones((2, 3)), np.ones((2, 3)), np.ones(2), [0] * 3),
        (np.ones((2, 3)), np.ones((2, 3)), np.ones(3), [0] * 2),
        (np.full((2, 3), np.nan), np.ones((2, 3)), np.ones(3), [0] * 3),
        (np.ones((2, 3)), np.ones((2, 3)), -np.ones(3), [0] * 3),
        (np.ones((2, 3)), np.ones((2, 3)), np.zeros(3), [0] * 3),
    ],
)
def test_refuses_what_makes_no_sense(method, control, weights, strata):
    with pytest.raises(ValueError):
        paired_difference(method, control, weights, strata)
    with pytest.raises(ValueError):
        difference_of(np.ones((2, 3)), confidence=1.0)


# weights_by_source


def test_weights_give_the_mean_over_sources_of_token_weighted_loss():
    tokens, sources = np.array([1, 3, 10, 30]), ["a", "a", "b", None]
    weights = weights_by_source(tokens, sources)
    assert weights == pytest.approx([1 / 12, 3 / 12, 1 / 3, 1 / 3])
    loss = np.array([1.0, 2, 3, 4])
    assert weights @ loss == pytest.approx(((1 * 1 + 3 * 2) / 4 + 3 + 4) / 3)


@pytest.mark.parametrize(("tokens", "sources"), [([], []), ([1, 0], ["a", "b"]), ([1, -1], "aa"), ([1], "ab")])
def test_weights_refuse_what_makes_no_sense(tokens, sources):
    with pytest.raises(ValueError):
        weights_by_source(tokens, sources)


# holm


def test_holm_by_hand():
    # sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1 = 0.04, 0.06, 0.06, 0.04 -> running maximum
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1, 1])
    assert holm([]).size == 0


def test_holm_among_more_by_hand():
    assert holm([0.01, 0.02], among=5) == pytest.approx([0.05, 0.08])
    assert holm([0.04, 0.01, 0.03, 0.02], among=2) == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_holm_leaves_unknowns_out():
    assert holm([0.01, math.nan, 0.04]) == pytest.approx([0.02, math.nan, 0.04], nan_ok=True)
    with pytest.raises(ValueError):
        holm([1.5])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.sampled_from([0.01, 0.05, 0.2]))
def test_holm_rejects_what_the_step_down_rule_rejects(p, alpha):
    order = sorted(range(len(p)), key=lambda i: p[i])
    rejected = set()
    for step, i in enumerate(order):
        if p[i] * (len(p) - step) > alpha:
            break
        rejected.add(i)
    assert {i for i, q in enumerate(holm(p)) if q <= alpha} == rejected


# answer


def made(mean, se, df=1e6, p=None, seeds=3, items=100, parts=(0.0, 0.0, 0.0)):
    base = difference_of(np.random.default_rng(0).standard_normal((3, 5)))
    p = 2 * stats.t.sf(abs(mean) / se, df) if p is None else p
    return replace(
        base,
        mean=mean,
        se=se,
        df=df,
        p_value=p,
        n_seeds=seeds,
        n_items=items,
        var_seed=parts[0],
        var_item=parts[1],
        var_residual=parts[2],
        parts=((se**2, df),),
    )


@pytest.mark.parametrize(
    ("mean", "se", "p", "lower", "expected"),
    [
        (-1.0, 0.1, 0.001, True, "better"),
        (-1.0, 0.1, 0.001, False, "worse"),
        (1.0, 0.1, 0.05, True, "worse"),
        (0.02, 0.02, 0.3, True, "equivalent"),  # 0.02 + 1.645 * 0.02 = 0.0529
        (0.04, 0.04, 0.3, True, "undecided"),  # 0.1058 > 0.1
        (0.0, 0.2, 1.0, True, "undecided"),
        (-0.05, 0.01, 0.001, True, "better"),  # inside the margin, yet significant
    ],
)
def test_answers(mean, se, p, lower, expected):
    assert answer(made(mean, se), p, margin=0.1, lower_is_better=lower) == expected


def test_equivalence_takes_the_interval_at_twice_the_level():
    """That of the rule at 10%, which for few seeds is narrower than the interval at 5% by other quantiles of the same t."""
    rng = np.random.default_rng(3)
    d = 0.1 * rng.standard_normal((2, 1)) + rng.standard_normal((1, 30)) + 0.05
    found, narrow = difference_of(d), difference_of(d, confidence=0.9)
    reach = max(abs(narrow.ci_low), abs(narrow.ci_high))
    assert answer(found, 0.9, margin=reach * 0.999) == "undecided" != answer(found, 0.9, margin=reach * 1.001)


def test_equivalence_is_two_one_sided_tests():
    for mean, se, df in [(0.03, 0.03, 4), (0.03, 0.034, 4), (-0.05, 0.02, 10), (0.0, 0.05, 3)]:
        low, high = stats.t.sf((mean + 0.1) / se, df), stats.t.sf((0.1 - mean) / se, df)
        expected = "equivalent" if max(low, high) < 0.05 else "undecided"
        assert answer(made(mean, se, df), 0.9, margin=0.1) == expected


def test_no_margin_no_equivalence():
    assert answer(made(0.0, 0.1), 1.0, margin=0) == "undecided"
    with pytest.raises(ValueError):
        answer(made(0.0, 0.1), 1.0, margin=-1)
    with pytest.raises(ValueError):
        answer(made(0.0, 0.1), 1.0, margin=math.nan)


def test_false_equivalence_at_the_edge_of_the_margin_is_rare():
    rng = np.random.default_rng(0)
    sources = np.arange(40) % 2
    wrong = 0
    for _ in range(400):
        d, weights = draw(rng, 3, sources, 0.3, 0.1, effect=6.0)
        wrong += answer(difference_of(d, weights, sources), 1.0, margin=6.0) == "equivalent"
    assert wrong / 400 <= 0.05 + 0.033


# what_it_would_take


def plan(*args, family=1, **options):
    sentence = what_it_would_take(made(*args, **options), alpha=0.05, family=family)
    assert sentence.endswith(".") and "\n" not in sentence
    return sentence


def test_plans_for_seeds_items_or_both():
    # variance from seeds alone: only more seeds help
    assert "more seeds (" in plan(0.1, 0.1, parts=(0.03, 0.0, 0.0))
    assert "more items alone would not do" in plan(0.1, 0.1, parts=(0.03, 0.0, 0.0))
    # from items alone: n = (1.98 + 0.84)^2 * 1 / 0.01, about 800 items
    sentence = plan(0.1, 0.1, parts=(0.0, 1.0, 0.0))
    assert "(790 in all)" in sentence and "more seeds alone would not do" in sentence
    assert ", or " in plan(0.1, 0.1, parts=(0.0, 0.0, 3.0))
    assert "neither alone would do" in plan(0.1, 0.1, parts=(0.03, 1.0, 0.0))


def test_plans_that_are_honest():
    assert plan(1e-6, 0.1, parts=(0.03, 0.1, 0.1)).startswith("No realistic number")
    assert "exactly 0" in plan(0.0, 0.1, p=1.0, parts=(0.03, 0.0, 0.0))
    assert plan(1.0, 0.01).startswith("Nothing more")
    one = difference_of([[1.0, 2.0]])
    assert "at least 3" in what_it_would_take(one, alpha=0.05, family=2)
    assert "1 evaluation item" in what_it_would_take(difference_of([[1.0], [2.0]]), alpha=0.05, family=2)


def test_a_larger_family_takes_more():
    def seeds(family):
        return int(plan(0.1, 0.1, parts=(0.03, 0.0, 0.0), family=family).split(" more seeds (")[1].split()[0])

    assert 3 < seeds(1) < seeds(5) < seeds(50)


def test_the_planned_number_of_seeds_has_the_promised_power():
    rng = np.random.default_rng(5)
    sources = np.arange(60) % 3
    true = made(2.0, 1.0, p=0.2, items=60, parts=(3 * 0.8, 60 * 0.2, 0.0))
    sentence = what_it_would_take(true, alpha=0.05, family=1)
    seeds = int(sentence.split(" more seed")[1].split("(")[1].split()[0])
    found = 0
    for _ in range(300):
        d = 2.0 + rng.standard_normal((seeds, 1)) * math.sqrt(2.4) + rng.standard_normal(60) * math.sqrt(12)
        found += difference_of(d, np.ones(60), sources).p_value <= 0.05
    assert 0.7 <= found / 300 <= 0.95
