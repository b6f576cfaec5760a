"""Numbers of pairs, complete and sparse, and the kernels made of them, by hand."""

import numpy as np
import pytest

from curate.pair_scores import PairScore, best_examples, best_rows, example_scores, kernels
from curate.signals import RowScore

NAN = float("nan")
ALL = np.indices((2, 3)).reshape(2, -1).T


def dense(kernel):
    return np.asarray(kernel.todense()) if hasattr(kernel, "todense") else kernel


def test_complete_and_sparse():
    whole = PairScore.of(ALL[::-1], np.arange(6.0)[::-1], (2, 3))
    assert whole.complete and whole.tried == 6 and whole.values.tolist() == [[0, 1, 2], [3, 4, 5]]
    some = PairScore.of(np.array([[1, 2], [0, 0], [1, 0]]), np.array([5.0, 0.0, NAN]), (2, 3))
    assert not some.complete and some.tried == 3  # a value of 0 was tried as well
    np.testing.assert_array_equal(some.example_means(), [0.0, NAN, 5.0])
    assert some.rows_with_values().tolist() == [True, True]
    np.testing.assert_array_equal(whole.example_means(), [1.5, 2.5, 3.5])


def test_rows_without_values():
    values = np.array([[NAN, NAN], [1.0, NAN]])
    score = PairScore(values)
    assert score.rows_with_values().tolist() == [False, True]
    np.testing.assert_array_equal(score.example_means(), [1.0, NAN])
    named = example_scores(score, np.array([None, "broken"], object), "untried")
    assert named.values[0] == 1.0 and named.reasons.tolist() == [None, "broken"]
    assert example_scores(score, np.array([None, None], object), "untried").reasons.tolist() == [None, "untried"]
    assert isinstance(named, RowScore)


GIVEN = np.array([-0.5, 0.0, NAN, 0.25, 0.5, -1.0])


@pytest.mark.parametrize("where", [[0, 1, 2, 3, 4, 5], [0, 2, 4, 5]], ids=["complete", "sparse"])
def test_kernels(where):
    [kernel] = kernels([PairScore.of(ALL[where], GIVEN[where], (2, 3))])
    want = [max(value, 0) if k in where and value == value else 0 for k, value in enumerate(GIVEN)]
    assert dense(kernel).reshape(-1).tolist() == want


def test_minmax_scales_all_together_and_has_nulls_where_0_is():
    other = PairScore(np.array([[1.0]]))
    kernel, one = kernels([PairScore.of(ALL, GIVEN, (2, 3)), other], "minmax")
    assert kernel.tolist() == [[0.25, 0.5, 0.5], [0.625, 0.75, 0.0]] and one.tolist() == [[1.0]]
    for values, place in (([2.0, NAN, 4.0], 0), ([-4.0, NAN, -2.0], 1)):  # 0 lies below all values, or above
        assert kernels([PairScore(np.array([values]))], "minmax")[0].tolist() == [[0, place, 1]]
    with pytest.raises(ValueError, match="minmax needs all pairs"):
        kernels([PairScore.of(ALL[[0, 2]], GIVEN[[0, 2]], (2, 3))], "minmax")


def test_minmax_of_equal_values_is_zero():
    assert kernels([PairScore(np.full((2, 2), 0.3))], "minmax")[0].tolist() == [[0, 0], [0, 0]]


def test_the_diagonal():
    square = PairScore(np.arange(4.0).reshape(2, 2) + 1)
    assert square.without_diagonal().values.tolist() == [[0, 2], [3, 0]] and square.values[0, 0] == 1
    some = PairScore.of(np.array([[0, 0], [0, 1]]), np.array([3.0, 4.0]), (2, 2)).without_diagonal()
    assert dense(some.values).tolist() == [[0, 4], [0, 0]] and some.tried == 2


@pytest.mark.parametrize("index", [ALL, ALL[[0, 2, 4, 5]]], ids=["complete", "sparse"])
def test_the_best_of_rows_and_columns(index):
    score = PairScore.of(index, np.linspace(-1, 1, len(index)), (2, 3))
    [kernel] = kernels([score])
    assert best_examples(kernel).tolist() == dense(kernel).max(axis=1).tolist()
    assert best_rows(kernel).tolist() == dense(kernel).max(axis=0).tolist()
