"""Draws by weight, the weights of clusters from round to round, and how many clusters there are."""

import numpy as np
import pytest

from curate.selectors.clusters import best_k
from curate.selectors.weighted import updated, weighted_order


def test_the_order_is_that_of_draws_without_replacement():
    """Weights 1, 2, 5: the chances of each order, by hand."""
    weights, rng = np.array([1.0, 2.0, 5.0]), np.random.default_rng(0)
    seen: dict[tuple[int, ...], int] = {}
    for _ in range(20_000):
        order = tuple(weighted_order(np.log(weights), rng).tolist())
        seen[order] = seen.get(order, 0) + 1
    for order, count in seen.items():
        first = weights[order[0]] / 8
        second = weights[order[1]] / (8 - weights[order[0]])
        assert count / 20_000 == pytest.approx(first * second, abs=0.012)


def test_rows_of_no_weight_come_last():
    nothing = -np.inf
    orders = [
        weighted_order(np.array([nothing, 0, nothing, -690, nothing]), np.random.default_rng(seed)).tolist() for seed in range(40)
    ]
    assert all({*order[:2]} == {1, 3} for order in orders)
    assert len({tuple(order[2:]) for order in orders}) == 6


def test_weights_beyond_the_range_of_floats():
    assert weighted_order(np.array([0.0, 1e6, -1e6]), np.random.default_rng(0)).tolist() == [1, 0, 2]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match="none below 0"):
        weighted_order(np.array([1.0, bad]), np.random.default_rng(0))


def test_the_paper_multiplies_the_weights_of_rounds():
    """Shortfalls 2, 1, 0: by a code that forgets the round before, the weights would stay where they are."""
    uniform, short = np.full(3, 1 / 3), np.array([2.0, 1.0, 0.0])
    once = updated(uniform, short, rule="paper")
    np.testing.assert_allclose(once, [2 / 3, 1 / 3, 0])
    np.testing.assert_allclose(updated(once, short, rule="paper"), [4 / 5, 1 / 5, 0])
    softmax = [0.665, 0.245, 0.090]
    forgetful = updated(uniform, short, rule="memoryless")
    np.testing.assert_allclose(forgetful, softmax, atol=5e-4)
    np.testing.assert_allclose(updated(forgetful, short, rule="memoryless"), softmax, atol=5e-4)
    product = updated(uniform, short)
    np.testing.assert_allclose(product, softmax, atol=5e-4)
    np.testing.assert_allclose(updated(product, short), np.square(softmax) / np.square(softmax).sum(), atol=1e-3)


def test_a_cluster_that_nothing_was_seen_of_gets_the_median_factor():
    found = updated(np.full(4, 0.25), np.array([2.0, np.nan, 1.0, 0.0]))
    assert found[1] == pytest.approx(found[2]) and found.sum() == pytest.approx(1)


def test_weights_that_would_all_be_nothing_stay():
    start = np.array([0.5, 0.5])
    for short in ([-1.0, -2.0], [0.0, 0.0]):
        assert np.array_equal(updated(start, np.array(short), rule="paper"), start)
    assert np.array_equal(updated(start, np.array([np.nan, np.nan])), start)
    assert np.isfinite(updated(start, np.array([1e6, -1e6]))).all()  # exp of it would overflow
    np.testing.assert_allclose(updated(start, np.array([1.0, -1.0]), rule="paper"), [1, 0])


def test_the_k_of_best_silhouette():
    rng = np.random.default_rng(0)
    centres = 30 * rng.normal(size=(16, 5))
    points = np.repeat(centres, 40, axis=0) + rng.normal(size=(640, 5))
    assert best_k(points, np.random.default_rng(0)) == 16


@pytest.mark.parametrize("points", [np.ones((200, 3)), np.arange(20.0).reshape(10, 2)])
def test_where_there_are_no_clusters_there_is_one(points):
    assert best_k(points, np.random.default_rng(0)) == 1
