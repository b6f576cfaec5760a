"""K-means on vectors, by faiss, from well-spread starts."""

import numpy as np
from numpy.typing import NDArray

POINTS = 64  # per centroid, that is learned from at most unless told otherwise
SEEDS = 5  # points per centroid, among which the first centroids are drawn


def kmeans(
    vectors: np.ndarray, k: int, rng: np.random.Generator, *, iterations: int = 10, starts: int = 1, points: int = POINTS
) -> NDArray[np.int64]:
    """The cluster of each vector, int64 [n] from 0 to k - 1; a cluster may be empty. Fewer vectors than k are as many clusters.

    vectors     float [n, d], finite; Euclidean distance.
    iterations  of Lloyd's algorithm, from points far from each other (k-means++ on a sample: Arthur and Vassilvitskii, 2007).
    starts      how often it begins anew; the best is kept.
    points      vectors per centroid that the centroids are learned from, drawn at random; all are assigned in the end.

    Raises ValueError for vectors that are not finite, or k below 1.
    """
    import faiss
    from sklearn.cluster import kmeans_plusplus

    data = np.ascontiguousarray(vectors, dtype=np.float32)
    if data.ndim != 2 or (data.size and not np.isfinite([data.min(), data.max()]).all()):
        raise ValueError("k-means needs finite vectors [n, d]")
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    k = min(k, len(data))
    if k == 0:
        return np.empty(0, dtype=np.int64)
    best, index = np.inf, None
    for _ in range(starts):
        sample = data[np.sort(rng.permutation(len(data))[: SEEDS * k])]
        first = kmeans_plusplus(sample, k, random_state=int(rng.integers(2**31)))[0]
        learner = faiss.Kmeans(
            data.shape[1], k, niter=iterations, seed=int(rng.integers(2**31)), max_points_per_centroid=points,
            min_points_per_centroid=1, verbose=False,
        )  # fmt: skip
        reached = learner.train(data, init_centroids=np.ascontiguousarray(first))
        if index is None or reached < best:
            best, index = reached, learner.index
    assert index is not None  # there is a start
    found: NDArray[np.int64] = index.search(data, 1)[1][:, 0].astype(np.int64)
    return found
