import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from curate.planted import auroc, coverage, enrichment

NAN = float("nan")


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, 2.0, math.inf, NAN]), st.integers(0, 2)), max_size=30))
def test_auroc_equals_all_pairs(rows):
    score = np.array([r[0] for r in rows])
    defect, clean = (np.array([r[1] == kind for r in rows], dtype=bool) for kind in (0, 1))
    wins = [
        1.0 if c > d else 0.5 if c == d else 0.0
        for c in score[clean & ~np.isnan(score)]
        for d in score[defect & ~np.isnan(score)]
    ]
    result = auroc(score, defect, clean)
    if not wins:
        assert all(math.isnan(v) for v in (result.value, result.low, result.high))
        return
    assert result.value == pytest.approx(np.mean(wins))
    assert 0 <= result.low <= result.value <= result.high <= 1


def test_auroc_is_not_certain_of_perfection():
    score = np.arange(20.0)
    perfect = auroc(score, score < 10, score >= 10)
    assert (perfect.value, perfect.high) == (1, 1) and 0.75 < perfect.low < 0.95
    reverse = auroc(-score, score < 10, score >= 10)
    assert (reverse.value, reverse.low) == (0, 0) and reverse.high == pytest.approx(1 - perfect.low)


def test_auroc_interval_covers_about_95_percent():
    rng = np.random.default_rng(1)
    for shift, truth in ((0.0, 0.5), (1.5, 0.8556)):  # Phi(shift / sqrt 2)
        covered = 0
        defect = np.arange(90) < 30
        for _ in range(600):
            score = rng.standard_normal(90) + shift * ~defect
            result = auroc(score, defect, ~defect)
            covered += result.low <= truth <= result.high
        assert 0.925 <= covered / 600 <= 0.985  # 0.95 within three standard errors


def test_auroc_refuses_rows_that_are_both_and_lengths_that_disagree():
    with pytest.raises(ValueError):
        auroc([1.0], [True], [True])
    with pytest.raises(ValueError):
        auroc([1.0, 2.0], [True], [False])
    with pytest.raises(ValueError):
        auroc([1.0, 2.0], [0, 1], [1, 0])


def test_enrichment_by_hand():
    defect = np.arange(100) < 20
    picked = np.zeros(100, dtype=bool)
    picked[15:25] = True  # 5 of 10 picks are defects; the pool has 20%
    result = enrichment(picked, defect)
    exact = binomtest(5, 10).proportion_ci(method="exact")
    assert result.value == pytest.approx(2.5)
    assert (result.low, result.high) == pytest.approx((exact.low / 0.2, exact.high / 0.2))


def test_enrichment_at_the_edges():
    defect = np.arange(100) < 20
    none = np.zeros(100, dtype=bool)
    assert math.isnan(enrichment(none, defect).value)
    assert math.isnan(enrichment(~none, none).value)
    assert math.isnan(enrichment([], []).value)
    avoided = enrichment(~defect, defect)
    assert (avoided.value, avoided.low) == (0, 0) and 0 < avoided.high < 0.3
    only = enrichment(defect, defect)
    assert (only.value, only.high) == pytest.approx((5, 5)) and 4 < only.low < 5
    assert enrichment(~none, defect).value == pytest.approx(1)
    with pytest.raises(ValueError):
        enrichment(none, defect[:5])


def test_coverage_by_hand():
    group = ["big"] * 90 + ["rare"] * 1 + ["other"] * 1 + ["mid"] * 6 + [None] * 2
    picked = np.zeros(100, dtype=bool)
    picked[[0, 1, 2, 90, 99]] = True
    result = coverage(picked, group)
    assert (result.rare_groups, result.rare_covered) == (2, 1)
    assert result.share_by_group == pytest.approx({"big": 0.6 / 0.9, "rare": 20, "other": 0, "mid": 0})
    wider = coverage(picked, group, rare_below=0.07)
    assert (wider.rare_groups, wider.rare_covered) == (3, 1)


def test_coverage_of_nothing():
    result = coverage(np.zeros(2, dtype=bool), ["a", "b"])
    assert (result.rare_groups, result.rare_covered) == (0, 0)
    assert all(math.isnan(v) for v in result.share_by_group.values())
    assert coverage([], []).share_by_group == {}
    with pytest.raises(ValueError):
        coverage([True], ["a", "b"])
