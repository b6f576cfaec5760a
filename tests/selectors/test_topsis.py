"""TOPSIS by hand, and what must not change it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.selectors.topsis import topsis

NAN = float("nan")


def test_by_hand():
    """Criteria [3, 4] and [4, 3] have length 5 each: the rows lie at (0.6, 0.8) and (0.8, 0.6)."""
    both = topsis([[3, 4], [4, 3]], [True, True])
    np.testing.assert_allclose(both, [0.5, 0.5])
    np.testing.assert_allclose(topsis([[3, 4], [4, 3]], [True, False]), [0, 1])
    three = topsis([[3, 4], [4, 3], [3, 3]], [True, True])
    length = np.sqrt(34)
    near, far = 1 / length, np.sqrt(2) / length
    np.testing.assert_allclose(three, [near / (near + near), near / (near + near), 0 / far])


@given(
    st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=12),
    st.floats(0.01, 100),
    st.sampled_from([0.0, 0.1]),
)
def test_units_do_not_matter_and_it_lies_between_0_and_1(rows, scale, clip):
    values = np.round(np.array(rows), 3)
    found = topsis(values, [True, False], clip=clip)
    assert ((found >= 0) & (found <= 1)).all()
    np.testing.assert_allclose(topsis(values * [scale, 1 / scale], [True, False], clip=clip), found, atol=1e-9)
    np.testing.assert_allclose(topsis(-values, [False, True], clip=clip), found, atol=1e-9)


def test_nulls_stay_and_change_nothing():
    values = np.array([[3, 4], [NAN, 1], [4, 3], [1, NAN]])
    np.testing.assert_allclose(topsis(values, [True, False]), [0, NAN, 1, NAN])
    assert np.isnan(topsis([[NAN, 1]], [True, True])).all()
    assert topsis([[2.0, 2.0]] * 3, [True, True]).tolist() == [0.5] * 3


def test_clipping_keeps_one_row_from_ruling_a_criterion():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.random((200, 2)), [[1e6, 0.5]]])
    plain, clipped = topsis(values, [True, True]), topsis(values, [True, True], clip=0.01)
    assert np.ptp(plain[:-1][np.argsort(values[:-1, 1])]) > 0.0
    assert abs(np.corrcoef(plain[:-1], values[:-1, 0])[0, 1]) < 0.2 < np.corrcoef(clipped[:-1], values[:-1, 0])[0, 1]


def test_what_does_not_fit():
    with pytest.raises(ValueError, match="must be"):
        topsis([[1.0]], [True, True])
    with pytest.raises(ValueError, match="clip"):
        topsis([[1.0, 2.0]], [True, True], clip=0.5)
