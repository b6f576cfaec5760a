"""Known answers of LESS's arithmetic."""

import numpy as np
import pytest

from curate.selectors.influence import best_subtask, cosines, influence, to_mean_direction, unit


def test_cosines_one_by_one():
    rng = np.random.default_rng(0)
    rows, targets = rng.standard_normal((9, 30)), rng.standard_normal((4, 30))
    want = [[a @ b / np.sqrt((a @ a) * (b @ b)) for b in targets] for a in rows]
    found = cosines(rows, targets)
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-6)
    assert found.dtype == np.float32
    np.testing.assert_allclose(cosines(rows * np.logspace(-30, 30, 9)[:, None], targets * 10), want, rtol=0, atol=1e-6)


def test_lengths_near_the_ends_of_half_precision_and_of_float32_count_for_nothing():
    tiny, huge = np.full((1, 4), 6e-8, np.float16), np.full((1, 4), 3e38, np.float32)
    assert unit(tiny).tolist() == unit(huge).tolist() == [[0.5] * 4]


def test_a_zero_gradient_has_no_direction():
    """A cosine of 0 would beat every negative one."""
    found = cosines([[0.0, 0.0], [1.0, 0.0], [np.inf, 0.0], [np.nan, 1.0]], [[-1.0, 0.0], [0.0, 0.0]])
    assert np.isnan(found[[0, 2, 3]]).all() and found[1, 0] == -1 and np.isnan(found[1, 1])


def test_rates_weigh_checkpoints_and_are_scaled():
    a, b = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    assert influence([(3.0, a), (1.0, b)]).tolist() == [[0.75, 0.25]]
    assert influence([(3e-5, a), (1e-5, b)]) == pytest.approx(influence([(3.0, a), (1.0, b)]))
    for wrong in ([], [(0.0, a)], [(-1.0, a), (2.0, b)], [(float("nan"), a)]):
        with pytest.raises(ValueError):
            influence(wrong)


def test_the_best_subtask_counts_and_not_their_mean():
    found = best_subtask([[0.9, -0.9], [0.5, 0.5]], ["a", "b"])
    assert found.tolist() == [0.9, 0.5]
    assert best_subtask([[0.9, -0.9], [0.5, 0.5]], ["a", "a"]).tolist() == [0.0, 0.5]  # one subtask: their mean


def test_within_a_subtask_it_is_the_mean_of_cosines_whatever_their_number():
    """Two rows put in the other order by the cosine with the mean gradient, which is the toy here."""
    targets = np.array([[1.0, 0.0], [10.0, 10.0], [0.0, 1.0]])
    rows = np.array([[1.0, 0.05], [0.6, 0.8]])
    found = best_subtask(cosines(rows, targets), ["a", "a", "b"])
    np.testing.assert_allclose(found, [0.8702, 0.8], atol=1e-3)
    toy = cosines(rows, targets[:2].mean(axis=0, keepdims=True))[:, 0]
    assert toy[1] > toy[0] and found[0] > found[1]


def test_targets_without_numbers_are_left_out():
    matrix = np.array([[0.1, np.nan, 0.3, np.nan], [0.2, np.nan, 0.0, np.nan]])
    assert best_subtask(matrix, ["a", "a", "a", "b"]).tolist() == pytest.approx([0.2, 0.1])
    assert best_subtask(matrix, [None, "a", "a", None]).tolist() == pytest.approx([0.3, 0.2])
    row = np.vstack([matrix, np.full(4, np.nan)])
    assert np.isnan(best_subtask(row, ["a", "a", "a", "b"])).tolist() == [False, False, True]
    with pytest.raises(ValueError, match="no target has a number"):
        best_subtask(np.full((2, 2), np.nan), ["a", "b"])
    with pytest.raises(ValueError, match="1 subtasks for 4 targets"):
        best_subtask(matrix, ["a"])


def test_a_shared_direction_is_seen():
    rng = np.random.default_rng(0)
    own = rng.standard_normal((200, 400))
    assert to_mean_direction(own) == pytest.approx(1 / np.sqrt(200), abs=0.01)
    assert to_mean_direction(own + 3) == pytest.approx(3 / np.sqrt(10), abs=0.01)
    assert np.isnan(to_mean_direction(np.zeros((3, 4))))
    assert to_mean_direction([[1.0, 0.0], [-1.0, 0.0]]) == 0
