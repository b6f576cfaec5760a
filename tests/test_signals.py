"""A score that could not be computed is null with a reason, and keeps both."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.signals import RowScore, as_vectors

NAN = float("nan")


def test_what_is_not_finite_is_null():
    score = RowScore.of(np.array([1.0, NAN, np.inf, -np.inf, 0.0]))
    assert score.is_null.tolist() == [False, True, True, True, False]
    assert score.reasons.tolist() == [None, *["not a finite number"] * 3, None]
    assert score.values[[0, 4]].tolist() == [1.0, 0.0] and np.isnan(score.values[1:4]).all()


def test_the_reason_of_a_parent_is_kept():
    first = RowScore(np.array([NAN, 1.0, NAN, 1.0]), np.array(["cut off", None, "cut off", None], object))
    second = RowScore(np.array([1.0, NAN, NAN, 1.0]), np.array([None, "no base", "no base", None], object))
    score = RowScore.of(np.array([5.0, 5.0, 5.0, 5.0]), first, second)
    assert score.reasons.tolist() == ["cut off", "no base", "cut off", None]
    assert np.isnan(score.values[:3]).all() and score.values[3] == 5


def test_null_says_why_once():
    score = RowScore.of(np.array([1.0, 2.0, NAN]))
    more = score.null(np.array([True, False, True]), "too short")
    assert more.reasons.tolist() == ["too short", None, "not a finite number"]
    assert np.isnan(more.values[0]) and more.values[1] == 2
    assert score.values[0] == 1 and score.reasons[0] is None  # the one before is as it was
    assert more.null(np.array([True, True, True]), "late").reasons.tolist() == ["too short", "late", "not a finite number"]


def test_the_values_given_are_not_changed():
    values = np.array([1.0, np.inf])
    RowScore.of(values)
    assert values[1] == np.inf
    assert RowScore.of(np.array([1, 2])).values.dtype == np.float64


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="same shape"):
        RowScore(np.zeros(2), np.full(3, None, object))
    assert len(RowScore.of(np.zeros(0))) == 0


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.5, NAN, np.inf]), st.booleans()), max_size=20))
def test_null_and_reason_go_together(rows):
    score = RowScore.of(np.array([value for value, _ in rows], dtype=float))
    score = score.null(np.array([bad for _, bad in rows], dtype=bool), "bad")
    assert [reason is not None for reason in score.reasons] == score.is_null.tolist()
    for (value, bad), now in zip(rows, score.values, strict=True):
        assert np.isnan(now) == (bad or not np.isfinite(value)) and (np.isnan(now) or now == value)


def test_vectors_from_lists():
    lists = pa.chunked_array([[[1.0, 2.0], None], [[3.0, 4.0]], []], pa.list_(pa.float32()))
    reasons = np.array([None, "failed", "bad", None], dtype=object)
    found = as_vectors(lists, np.array([3, 2, 0]), reasons)
    assert found.values.dtype == np.float32 and found.is_null.tolist() == [False, True, True, False]
    assert found.values[[0, 3]].tolist() == [[3.0, 4.0], [1.0, 2.0]] and np.isnan(found.values[[1, 2]]).all()


def test_no_vector_at_all():
    lists = pa.chunked_array([[None, None]], pa.list_(pa.float32()))
    assert as_vectors(lists, np.arange(2), np.full(2, "bad", object)).values.shape == (2, 0)
    nothing = as_vectors(pa.chunked_array([], pa.list_(pa.float32())), np.arange(0), np.full(0, None, object))
    assert nothing.values.shape == (0, 0)


def test_a_signal_without_numbers_is_null_for_every_row():
    from curate.signals import RowVector

    vectors = RowVector(np.ones((2, 3), np.float32), np.array([None, "no reply"], dtype=object))
    score = RowScore.none(vectors, "it chooses sets")
    assert np.isnan(score.values).all() and score.reasons.tolist() == ["it chooses sets", "no reply"]
