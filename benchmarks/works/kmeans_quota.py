"""Quotas of k-means clusters: cluster the vectors, give each cluster its share, pick at random inside

Gaussian vectors around 3,000 centres, and without centres. `inertia` is the sum of squared distances from the means of the
clusters found, in float64. scikit-learn's MiniBatchKMeans by its defaults, and with batches of 4,096; the quotas are ours for
all.
"""

import numpy as np
from works_data import vectors

REACH = "twice as fast as MiniBatchKMeans at equal or lower inertia"
SIZES = {
    f"n={n:,} d=384 {k:,} clusters{'' if centres else ', no centres'}": {"n": n, "d": 384, "k": k, "centres": centres}
    for n, k in ((100_000, 300), (1_000_000, 1_000))
    for centres in (3_000, 0)
}
GROWTH = ("n", (100_000, 200_000, 400_000, 800_000), {"d": 384, "k": 1_000, "centres": 3_000})


def inertia(values: np.ndarray, labels: np.ndarray) -> float:
    """Sum of squared distances from the mean of the own cluster."""
    total, order = 0.0, np.argsort(labels, kind="stable")
    for member in np.split(order, np.cumsum(np.bincount(labels))[:-1]):
        part = values[member].astype(np.float64)
        total += float(((part - part.mean(axis=0)) ** 2).sum()) if len(part) else 0.0
    return total


def with_quota(cluster, values: np.ndarray):  # type: ignore[no-untyped-def]
    from curate.budget import Budget
    from curate.selectors.quota import quota

    n = len(values)
    limit = Budget.parse("10%").limit(np.ones(n))

    def run():  # type: ignore[no-untyped-def]
        labels = cluster(values)
        found = quota(list(map(str, labels.tolist())), np.random.default_rng(0).permutation(n), limit, name="cluster")
        return lambda: {"inertia": inertia(values, labels), "picks": len(found)}

    return run


def ours(n: int, d: int, k: int, centres: int):  # type: ignore[no-untyped-def]
    import faiss  # noqa: F401 (imports are not timed)
    import sklearn.cluster  # noqa: F401

    from curate.selectors.kmeans import kmeans

    return with_quota(lambda values: kmeans(values, k, np.random.default_rng(0)), vectors(n, d, centres))


def minibatch(**settings):  # type: ignore[no-untyped-def]
    def prepared(n: int, d: int, k: int, centres: int):  # type: ignore[no-untyped-def]
        from sklearn.cluster import MiniBatchKMeans

        return with_quota(
            lambda values: MiniBatchKMeans(k, random_state=0, **settings).fit(values).labels_, vectors(n, d, centres)
        )

    return prepared


CONTESTANTS = {
    "curate": ours,
    "MiniBatchKMeans": minibatch(),
    "MiniBatchKMeans, batches of 4,096": minibatch(batch_size=4096),
}
