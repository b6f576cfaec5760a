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


@pytest.mark.parametrize("index", [ALL, ALL[[0, 2, 4, 5]]], ids=["complete", "sparse"])
def test_kernels(index):
    values = np.array([-0.5, 0.0, NAN, 0.25, 0.5, -1.0])
    given = {tuple(pair): value for pair, value in zip(ALL.tolist(), values)}
    score = PairScore.of(index, np.array([given[tuple(pair)] for pair in index.tolist()]), (2, 3))
    other = PairScore(np.array([[1.0]]))  # both are scaled by the lowest and the highest of the two together
    relu, minmax = kernels([score])[0], kernels([score, other], "minmax")
    for i, j in ALL.tolist():
        value = given[i, j] if [i, j] in index.tolist() else NAN
        assert dense(relu)[i, j] == (max(value, 0) if value == value else 0)
        assert dense(minmax[0])[i, j] == ((value + 1) / 2 if value == value else 0)
    assert minmax[1].tolist() == [[1.0]]


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
