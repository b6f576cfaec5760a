"""How like each row is to one that comes before it in its cluster."""

import numpy as np
from numpy.typing import NDArray

BLOCK = 1024  # rows that are compared with all before them at once
FIRST = -1.0  # of a row that none comes before


def nearest_before(units: NDArray, clusters: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.float64]:
    """float64 [n]: the largest cosine of each row with any row before it in its cluster, taken or not; -1 for a cluster's first.

    units     float [n, d], unit vectors. clusters: int64 [n].
    order     all positions; inside a cluster this is the order.

    Cosines nearer than float32 tells are clipped to [-1, 1]. O(sum of the clusters' squared sizes). Source: SemDeDup, arXiv
    2303.09540.
    """
    found = np.full(len(units), FIRST)
    by_cluster = order[np.argsort(clusters[order], kind="stable")]
    for members in np.split(by_cluster, np.flatnonzero(np.diff(clusters[by_cluster])) + 1):
        some = np.asarray(units[members], dtype=np.float32)
        for start in range(0, len(members), BLOCK):
            stop = min(start + BLOCK, len(members))
            cosines = some[start:stop] @ some[:stop].T
            cosines[np.triu_indices(stop - start, m=stop, k=start)] = FIRST  # a row itself and those behind it
            found[members[start:stop]] = np.clip(cosines.max(axis=1), -1, 1)
    return found
