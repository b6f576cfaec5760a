"""How many clusters: the k of best silhouette."""

import numpy as np

from curate.selectors.kmeans import kmeans

CANDIDATES = (8, 16, 32, 64, 128, 256, 512, 1024)
SAMPLE = 2000  # vectors on which silhouettes are measured: their cost grows with the square
ROWS_PER_CLUSTER = 8  # at least, on average, for a k to be tried


def best_k(vectors: np.ndarray, rng: np.random.Generator, candidates: tuple[int, ...] = CANDIDATES) -> int:
    """The candidate with the best mean silhouette, on a random sample of the vectors [n, d]; the smaller k where two are equal.

    Candidates that leave fewer than 8 vectors to a cluster are not tried; 1 where none is left, or all vectors are alike.
    Source: Rousseeuw 1987; arXiv 2409.11378 chooses k so.
    """
    from sklearn.metrics import silhouette_score

    tried = [k for k in candidates if k * ROWS_PER_CLUSTER <= len(vectors)]
    sample = np.sort(rng.permutation(len(vectors))[:SAMPLE])
    best, found = -np.inf, 1
    for k in tried:
        clusters = kmeans(vectors, k, rng)[sample]
        if not 1 < len(np.unique(clusters)) < len(sample):
            continue
        value = silhouette_score(vectors[sample], clusters)
        if value > best + 1e-9:
            best, found = value, k
    return found
