"""K-means: it finds what is there, and no input makes it give numbers that are none."""

import numpy as np
import pytest

from curate.selectors.kmeans import kmeans


def blobs(sizes, distance=10.0, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([distance * i + rng.normal(size=(size, 3)) for i, size in enumerate(sizes)])


def test_separate_clouds_are_clusters():
    sizes = [60, 40, 100]
    found = kmeans(blobs(sizes), 3, np.random.default_rng(0), starts=10)
    parts = np.split(found, np.cumsum(sizes)[:-1])
    assert sorted(np.unique(part).tolist() for part in parts) == [[0], [1], [2]]


def test_it_is_a_local_optimum_of_lloyds():
    """No vector is nearer to the mean of another cluster than to that of its own (all vectors learned from)."""
    data = np.random.default_rng(1).normal(size=(400, 4)).astype(np.float32)
    found = kmeans(data, 5, np.random.default_rng(0), iterations=200, points=1000)
    means = np.stack([data[found == c].mean(axis=0) for c in range(5)])
    distances = ((data[:, None] - means[None]) ** 2).sum(axis=2)
    assert (distances.argmin(axis=1) == found).mean() > 0.99


def test_every_one_of_many_clouds_is_found():
    """From random points several clouds would share a centroid: k points hit all of k clouds once in e^k."""
    found = kmeans(blobs([40] * 50), 50, np.random.default_rng(0))
    assert np.mean([len(np.unique(part)) == 1 for part in np.split(found, 50)]) > 0.9
    assert len(np.unique(found)) >= 45


def test_more_starts_are_no_worse():
    data = np.random.default_rng(1).normal(size=(500, 6)).astype(np.float32)

    def inertia(starts, seed):
        found = kmeans(data, 12, np.random.default_rng(seed), starts=starts, points=1000)
        return sum(((data[found == c] - data[found == c].mean(axis=0)) ** 2).sum() for c in np.unique(found))

    assert np.mean([inertia(8, seed) for seed in range(4)]) < np.mean([inertia(1, seed) for seed in range(4)])


def test_one_generator_one_answer():
    data = np.random.default_rng(1).normal(size=(300, 4))
    first, again, other = (kmeans(data, 10, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize("n, k", [(0, 3), (1, 3), (3, 3), (3, 100)])
def test_fewer_vectors_than_clusters(n, k):
    found = kmeans(np.arange(2 * n, dtype=float).reshape(n, 2), k, np.random.default_rng(0))
    assert found.shape == (n,) and ((found >= 0) & (found < max(1, n))).all()


def test_vectors_that_are_all_the_same():
    found = kmeans(np.ones((50, 4)), 10, np.random.default_rng(0))
    assert len(np.unique(found)) == 1


@pytest.mark.parametrize("data, k, said", [([[np.nan, 1.0]], 1, "finite"), ([1.0, 2.0], 1, "finite"), ([[1.0]], 0, "at least 1")])
def test_what_it_refuses(data, k, said):
    with pytest.raises(ValueError, match=said):
        kmeans(np.array(data), k, np.random.default_rng(0))
