"""Posterior variance in the space of features against the formula with all kernels."""

import numpy as np
import pytest

from curate.budget import Limit
from curate.selectors.posterior import first_gains, posterior


def rows(n, k):
    return Limit(np.ones(n), k)


def unit(n, d, seed):
    values = np.random.default_rng(seed).normal(size=(n, d))
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def variance(x, targets, noise):
    """sum over targets of k(t, t) - k_X (K_X + noise I)^-1 k_X, straight from the formula."""
    inverse = np.linalg.inv(x @ x.T + noise * np.eye(len(x)))
    return sum(t @ t - (x @ t) @ inverse @ (x @ t) for t in targets)


@pytest.mark.parametrize("noise", [0.01, 0.3, 10.0])
def test_every_pick_is_the_best_one_by_the_formula(noise):
    x, targets = unit(25, 6, 0), unit(3, 6, 1)
    found = posterior(x, targets, rows(25, 9), noise=noise, eligible=np.arange(25))
    taken: list[int] = []
    for row, gain in zip(found.index.tolist(), found.gain.tolist()):
        before = variance(x[taken], targets, noise) if taken else float((targets**2).sum())
        drops = {i: before - variance(x[[*taken, i]], targets, noise) for i in range(25) if i not in taken}
        assert gain == pytest.approx(drops[row], rel=1e-6) and drops[row] == pytest.approx(max(drops.values()), rel=1e-6)
        taken.append(row)
    np.testing.assert_allclose(found.gain[0], first_gains(x, targets, noise).max())


def test_a_copy_of_a_pick_gains_little():
    """Of unit vectors the second of two copies gains noise / (2 + noise) of the first."""
    x, target = np.array([[1.0, 0], [1.0, 0]]), np.array([[1.0, 0]])
    found = posterior(x, target, rows(2, 2), noise=0.01, eligible=np.arange(2))
    assert found.index.tolist() == [0, 1] and found.gain[1] / found.gain[0] == pytest.approx(0.01 / 2.01)


def test_much_noise_is_nearest_neighbours():
    x, target = unit(40, 5, 2), unit(1, 5, 3)
    found = posterior(x, target, rows(40, 40), noise=1e7, eligible=np.arange(40))
    assert found.index.tolist() == np.argsort(-((x @ target[0]) ** 2), kind="stable").tolist()


def test_rows_that_may_not_be_picked():
    x, target = unit(6, 3, 4), unit(1, 3, 5)
    found = posterior(x, target, rows(6, 6), noise=0.1, eligible=np.array([1, 4]))
    assert sorted(found.index.tolist()) == [1, 4] and found.nulls == 4 and "only 2 of 6 rows" in found.shortfall
    with pytest.raises(ValueError, match="noise"):
        posterior(x, target, rows(6, 6), noise=0.0, eligible=np.arange(6))
