"""Nearest rows against a sort of all cosines."""

import numpy as np
import pytest

from curate import neighbours
from curate.neighbours import nearest
from curate.signals import RowVector


def vectors(values):
    values = np.asarray(values, np.float32)
    null = np.isnan(values).any(axis=1)
    return RowVector(values, np.where(null, "null", None))


def slow(rows, others, count, same):
    found = []
    for i, a in enumerate(rows):
        ranked = []
        for j, b in enumerate(others):
            if not (same and i == j) and np.linalg.norm(a) > 0 and np.linalg.norm(b) > 0:  # False of NaN
                ranked.append((-float(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b)), j))
        found += [(i, j) for _, j in sorted(ranked)[:count]]
    return found


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("count", [1, 3, 40])
def test_against_a_sort(same, count, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK_NUMBERS", 100)
    rng = np.random.default_rng(0)
    values = rng.standard_normal((30, 4))
    values[3], values[7] = 0, np.nan
    other = values if same else rng.standard_normal((20, 4))
    found = nearest(vectors(values), vectors(other), count, same=same)
    assert found.dtype == np.int64
    assert [tuple(pair) for pair in found.tolist()] == slow(values, other, count, same)


def test_ties_go_to_the_smaller_position():
    found = nearest(vectors([[1, 0], [2, 0], [3, 0], [0, 1]]), vectors([[1, 0], [2, 0], [3, 0], [0, 1]]), 2, same=True)
    assert found.tolist() == [[0, 1], [0, 2], [1, 0], [1, 2], [2, 0], [2, 1], [3, 0], [3, 1]]


def test_nobody_to_be_near_to():
    assert nearest(vectors([[1, 0]]), vectors([[1, 0]]), 3, same=True).shape == (0, 2)
    assert nearest(vectors([[1, 0]]), vectors([[0, 0]]), 3).shape == (0, 2)
