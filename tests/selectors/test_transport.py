"""Sinkhorn's duals against the linear programme and their own laws."""

import numpy as np
import pytest
from scipy.optimize import linprog

from curate.selectors import transport
from curate.selectors.transport import duals


def exact(rows, others):
    """(cost of the best transport, the rows' potentials) by a linear programme."""
    cost = ((rows[:, None] - others[None]) ** 2).sum(axis=2)
    cost /= cost.max()
    n, m = cost.shape
    marginals = np.zeros((n + m, n * m))
    for i in range(n):
        marginals[i, i * m : (i + 1) * m] = 1
    for j in range(m):
        marginals[n + j, j::m] = 1
    found = linprog(cost.ravel(), A_eq=marginals, b_eq=np.concatenate([np.full(n, 1 / n), np.full(m, 1 / m)]))
    return found.fun


def test_little_entropy_is_the_linear_programme():
    rng = np.random.default_rng(0)
    rows, others = rng.normal(size=(9, 3)), rng.normal(size=(6, 3)) + 0.5
    found = duals(rows, others, epsilon=0.005, iterations=5_000, tolerance=1e-4)
    assert found.error < 1e-4
    assert found.rows.mean() + found.others.mean() == pytest.approx(exact(rows, others), abs=0.02)


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    rows, others = rng.normal(size=(30, 4)), rng.normal(size=(7, 4))
    whole = duals(rows, others, epsilon=0.1, iterations=50)
    monkeypatch.setattr(transport, "BLOCK", 20)
    monkeypatch.setattr(transport, "HELD_BYTES", 0)
    parts = duals(rows, others, epsilon=0.1, iterations=50)
    np.testing.assert_allclose(parts.rows, whole.rows, atol=1e-12)
    assert parts.iterations == whole.iterations


def test_a_cluster_that_moves_onto_the_target_has_lower_duals():
    rng = np.random.default_rng(2)
    target = rng.normal(size=(20, 3)) * 0.1
    far, near = rng.normal(size=(25, 3)) * 0.1 + 4, rng.normal(size=(25, 3)) * 0.1
    found = duals(np.concatenate([far, near]), target, epsilon=0.05).rows
    assert found[25:].max() < found[:25].min()


def test_all_alike():
    found = duals(np.ones((4, 2)), np.ones((3, 2)), epsilon=0.1)
    assert np.ptp(found.rows) == 0 and found.error < 1e-9
    with pytest.raises(ValueError, match="epsilon"):
        duals(np.ones((4, 2)), np.ones((3, 2)), epsilon=0)
    with pytest.raises(ValueError, match="both sides"):
        duals(np.ones((0, 2)), np.ones((3, 2)), epsilon=1)
