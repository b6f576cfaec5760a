"""Floors for groups, and picks from both ends of clusters."""

import numpy as np
import pytest

from curate.budget import Limit
from curate.selectors.prototypes import both_ends, with_floors
from curate.selectors.top_k import top_k


def rows(n, k):
    return Limit(np.ones(n), k)


STRATA = ["a"] * 8 + ["b"] * 2
VALUES = np.array([9.0, 8, 7, 6, 5, 4, 3, 2, 1, 0])


def test_floors_by_hand():
    assert with_floors(VALUES, STRATA, rows(10, 4), share=0.5).index.tolist() == [0, 1, 2, 8]
    assert with_floors(VALUES, STRATA, rows(10, 4), share=1).index.tolist() == [0, 1, 8, 9]
    none = with_floors(VALUES, STRATA, rows(10, 4), share=0)
    assert none.index.tolist() == top_k(VALUES, rows(10, 4)).index.tolist()
    assert with_floors(VALUES, STRATA, rows(10, 11), share=0.5).shortfall is not None
    with pytest.raises(ValueError, match="share"):
        with_floors(VALUES, STRATA, rows(10, 4), share=2)


def test_both_ends_of_every_cluster():
    distances, clusters = np.array([3.0, 1, 2, 0, 0.5, 0.1]), np.array([0, 0, 0, 0, 1, 1])
    order = both_ends(distances, clusters, 0.5)
    assert [i for i in order.tolist() if clusters[i] == 0] == [3, 0, 1, 2]  # nearest, farthest, nearest, farthest
    assert [i for i in order.tolist() if clusters[i] == 1] == [5, 4]
    assert [i for i in both_ends(distances, clusters, 0.0).tolist() if clusters[i] == 0] == [0, 2, 1, 3]
    assert [i for i in both_ends(distances, clusters, 1.0).tolist() if clusters[i] == 0] == [3, 1, 2, 0]


def test_both_ends_hold_everything_once_whatever_is_equal():
    for near in (0, 0.3, 0.5, 1):
        assert sorted(both_ends(np.zeros(7), np.array([0, 0, 0, 1, 1, 1, 2]), near).tolist()) == list(range(7))
