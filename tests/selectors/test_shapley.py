"""Shapley values against all orders, and by their laws."""

from itertools import permutations

import numpy as np
import pytest

from curate.selectors.shapley import shapley


def worth(kernel, losses, towards, ridge, some):
    if not some:
        return 0.0
    index = list(some)
    return float(towards[index] @ np.linalg.solve(kernel[np.ix_(index, index)] + ridge * np.eye(len(index)), losses[index]))


def exact(kernel, losses, towards, ridge):
    n = len(losses)
    found, orders = np.zeros(n), list(permutations(range(n)))
    for order in orders:
        for place, row in enumerate(order):
            before, after = order[:place], order[: place + 1]
            found[row] += worth(kernel, losses, towards, ridge, after) - worth(kernel, losses, towards, ridge, before)
    return found / len(orders)


def given(n, seed=0):
    rng = np.random.default_rng(seed)
    features, target = rng.normal(size=(n, 6)), rng.normal(size=(3, 6))
    return features @ features.T, rng.random(n) + 0.1, (features @ target.T).mean(axis=1)


def test_many_orders_are_all_orders():
    kernel, losses, towards = given(5)
    mean, error = shapley(kernel, losses, towards, ridge=0.5, permutations=3000, rng=np.random.default_rng(0))
    want = exact(kernel, losses, towards, 0.5)
    np.testing.assert_allclose(mean, want, atol=5 * error.max())
    assert 0 < error.max() < 0.1 * np.ptp(want)


def test_one_order_adds_up_to_the_worth_of_all():
    kernel, losses, towards = given(12)
    mean, _ = shapley(kernel, losses, towards, ridge=0.1, permutations=1, rng=np.random.default_rng(0))
    assert mean.sum() == pytest.approx(worth(kernel, losses, towards, 0.1, range(12)))


def test_copies_share_and_a_row_that_says_nothing_has_nothing():
    kernel, losses, towards = given(4)
    index = [0, 1, 2, 3, 3]
    mean, error = shapley(
        kernel[np.ix_(index, index)], losses[index], towards[index], ridge=0.5, permutations=2000, rng=np.random.default_rng(1)
    )
    assert mean[3] == pytest.approx(mean[4], abs=5 * error[3])
    assert abs(mean[3]) < abs(exact(kernel, losses, towards, 0.5)[3])
    kernel[0, :] = kernel[:, 0] = towards[0] = 0.0
    assert shapley(kernel, losses, towards, ridge=0.5, permutations=5, rng=np.random.default_rng(0))[0][0] == pytest.approx(0)
    with pytest.raises(ValueError, match="ridge"):
        shapley(kernel, losses, towards, ridge=0, permutations=5, rng=np.random.default_rng(0))
