"""Known answers of BIDS, and the rule itself, step by step, as the oracle."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.budget import Budget
from curate.selectors.bids import baseline, bids, standardised


def limit(n, budget=None):
    return Budget.parse(n if budget is None else budget).limit(np.ones(n))


def oracle(matrix, k, rule="max", normalise=True):
    """The definition: every row, every target, every step."""
    z = (matrix - matrix.mean(axis=0)) / matrix.std(axis=0) if normalise else matrix
    picks = []
    for _ in range(k):
        mean = z[picks].mean(axis=0) if picks else np.zeros(z.shape[1])
        best = None
        for i in range(len(z)):
            if i in picks:
                continue
            value = max(z[i] - mean) if rule == "max" else z[i, min(range(z.shape[1]), key=lambda j: (mean[j], j))]
            if best is None or value > best[0]:
                best = value, i
        picks.append(best[1])
    return picks


@pytest.mark.parametrize("rule", ["max", "argmin_task"])
@pytest.mark.parametrize(("n", "v"), [(40, 7), (25, 1), (30, 60), (3, 2)])
def test_it_is_the_greedy_rule(n, v, rule):
    for seed in range(4):
        matrix = np.random.default_rng(seed).standard_normal((n, v)) ** 3 * np.arange(1, v + 1)
        assert bids(matrix, limit(n), rule=rule).index.tolist() == oracle(matrix, n, rule)
        raw = bids(matrix, limit(n), rule=rule, normalise=False).index.tolist()
        assert raw == oracle(matrix, n, rule, normalise=False)


@given(st.integers(0, 10_000), st.integers(2, 9), st.integers(1, 4))
def test_it_is_the_greedy_rule_with_ties_too(seed, n, v):
    rng = np.random.default_rng(seed)
    matrix = np.where(rng.random((n, v)) < 0.5, 0.0, 1.0)
    matrix[:2] = [[0.0], [1.0]]  # no column without spread
    matrix = np.vstack([matrix, 1 - matrix])  # half of a column is 1: z is -1 and 1, and sums are exact
    assert bids(matrix, limit(2 * n)).index.tolist() == oracle(matrix, 2 * n)


def test_the_scale_of_a_column_is_nothing_to_it():
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((60, 5))
    picks = bids(matrix, limit(60, 20)).index.tolist()
    changed = matrix * np.array([1, 100, 0.01, 3, 7]) + np.array([5, -3, 0, 1, 2])
    assert bids(changed, limit(60, 20)).index.tolist() == picks
    assert bids(-matrix, limit(60, 20)).index.tolist() != picks


def test_two_tasks_of_100_times_different_scale_are_served_alike():
    rng = np.random.default_rng(0)
    task = np.repeat([0, 1], 30)
    matrix = rng.standard_normal((60, 2)) * 0.1
    matrix[np.arange(60), task] += rng.random(60) + 1
    matrix[:, 0] *= 100
    raw = np.argsort(-matrix.max(axis=1), kind="stable")[:20]
    assert np.bincount(task[raw], minlength=2).tolist() == [20, 0]
    assert np.bincount(task[bids(matrix, limit(60, 20)).index], minlength=2).tolist() == [10, 10]


def test_the_rules_differ():
    matrix = np.random.default_rng(1).standard_normal((40, 6))
    assert bids(matrix, limit(40, 10)).index.tolist() != bids(matrix, limit(40, 10), rule="argmin_task").index.tolist()
    z = standardised(matrix)
    first = bids(matrix, limit(40, 2))
    assert first.index[0] == z.max(axis=1).argmax() and first.gain[0] == z.max()
    assert first.reason[0] == f"helps target {z[first.index[0]].argmax()} most"


def test_one_target_is_its_order():
    matrix = np.random.default_rng(0).standard_normal((12, 1))
    assert bids(matrix, limit(12)).index.tolist() == np.argsort(-matrix[:, 0]).tolist()


def test_a_copy_can_be_picked_again():
    """It is no rule of diversity: what serves the neglected target best serves it twice."""
    matrix = np.array([[9.0, 0], [9, 0], [0, 8], [0, 7], [1, 1], [2, 1]])
    picks = bids(matrix, limit(6)).index.tolist()
    assert picks == oracle(matrix, 6) and set(picks[:4]) == {0, 1, 2, 3}


def test_nulls_and_columns_that_say_nothing():
    matrix = np.random.default_rng(0).standard_normal((10, 4))
    want = bids(matrix, limit(10)).index
    wide = np.insert(np.insert(matrix, 2, 5.0, axis=1), 0, np.nan, axis=1)  # a constant column, and one of nothing
    found = bids(wide, limit(10))
    assert found.index.tolist() == want.tolist() and found.nulls == 0
    assert {int(reason.split()[2]) for reason in found.reason} <= {1, 2, 4, 5}
    wide[3, 4] = np.nan
    found = bids(wide, limit(10))
    assert found.nulls == 1 and 3 not in found.index and len(found) == 9 and "only 9 of 10" in found.shortfall
    alone = bids(np.delete(wide, 3, axis=0), limit(9)).index
    assert found.index.tolist() == [i + (i >= 3) for i in alone]
    assert bids(np.ones((4, 3)), limit(4, 2)).index.tolist() == [0, 1]
    assert len(bids(np.full((4, 3), np.nan), limit(4, 2))) == 0


def test_budgets():
    matrix = np.random.default_rng(0).standard_normal((10, 3))
    whole = bids(matrix, limit(10, 50))
    assert sorted(whole.index.tolist()) == list(range(10))
    assert bids(matrix, limit(10, 4)).index.tolist() == whole.index[:4].tolist()
    assert len(bids(matrix, limit(10, 0))) == 0
    costs = Budget.parse("10 tokens").limit(np.full(10, 3.0))
    assert bids(matrix, costs).index.tolist() == whole.index[:3].tolist()
    with pytest.raises(ValueError):
        bids(matrix, limit(9))
    with pytest.raises(ValueError):
        bids(matrix, limit(10), rule="mean")


# What the paper compares with -----------------------------------------------------------------------------------------

HAND = np.array([[6.0, 0, 10], [0, 0, 20], [0, 3, 30]])  # tasks a, a, b
ROOT = np.sqrt(2.0)


@pytest.mark.parametrize(
    ("rule", "normalise", "want"),
    [
        ("task_max", False, [10, 20, 30]),
        ("sum", False, [16, 20, 33]),
        ("instance_max", False, [10, 20, 30]),
        # Standardised, the columns are (2, -1, -1) / sqrt 2, (-1, -1, 2) / sqrt 2 and (-1, 0, 1) sqrt 1.5.
        ("task_max", True, [0.5 / ROOT, 0, np.sqrt(1.5)]),
        ("sum", True, [1 / ROOT - np.sqrt(1.5), -2 / ROOT, 1 / ROOT + np.sqrt(1.5)]),
        ("instance_max", True, [2 / ROOT, 0, 2 / ROOT]),
    ],
)
def test_baselines_by_hand(rule, normalise, want):
    assert baseline(HAND, rule, ["a", "a", "b"], normalise=normalise) == pytest.approx(want)


def test_a_task_is_the_mean_over_its_targets_and_the_best_task_counts():
    matrix = np.array([[0.9, -0.9, 0], [0.5, 0.5, 0]])
    assert baseline(matrix, "task_max", "abc", normalise=False) == pytest.approx([0.9, 0.5])
    assert baseline(matrix, "task_max", "aab", normalise=False) == pytest.approx([0, 0.5])


@pytest.mark.parametrize("rule", ["task_max", "sum", "instance_max"])
def test_baselines_leave_out_what_says_nothing(rule):
    matrix = np.random.default_rng(0).standard_normal((6, 4))
    want = baseline(matrix, rule, "aabb")
    wide = np.insert(np.insert(matrix, 2, 5.0, axis=1), 0, np.nan, axis=1)
    assert baseline(wide, rule, "xaaabb") == pytest.approx(want)
    wide[3, 4] = np.nan
    assert np.isnan(baseline(wide, rule, "xaaabb")).tolist() == [i == 3 for i in range(6)]
    assert baseline(np.ones((3, 2)), rule, "ab").tolist() == [0, 0, 0]
    assert np.isnan(baseline(np.full((3, 2), np.nan), rule, "ab")).all()
    with pytest.raises(ValueError, match="not 'mean'"):
        baseline(matrix, "mean", "aabb")
