"""Nearest rows by the cosine of their vectors, exactly."""

import numpy as np

from curate.signals import RowVector

BLOCK_NUMBERS = 2**24  # similarities held at once


def nearest(rows: RowVector, others: RowVector, count: int, *, same: bool = False) -> np.ndarray:
    """int64 [p, 2]: (position of a row, position of one of its `count` nearest others), rows ascending, best first.

    Nulls and vectors of zeros have no neighbours and are nobody's. same: rows and others are one set, and a row is not its own
    neighbour. Ties go to the smaller position.
    """
    unit, among = unit_vectors(rows), unit_vectors(others)
    here, there = np.flatnonzero(np.isfinite(unit).all(axis=1)), np.flatnonzero(np.isfinite(among).all(axis=1))
    count = min(count, len(there) - same)
    if count <= 0:
        return np.empty((0, 2), dtype=np.int64)
    block, found = max(1, BLOCK_NUMBERS // len(there)), []
    for start in range(0, len(here), block):
        part = here[start : start + block]
        likeness = unit[part] @ among[there].T
        if same:
            likeness[np.arange(len(part)), np.searchsorted(there, part)] = -np.inf
        bound = np.partition(likeness, len(there) - count, axis=1)[:, len(there) - count]
        i, j = np.nonzero(likeness >= bound[:, None])
        order = np.lexsort((j, -likeness[i, j], i))
        i, j = i[order], j[order]
        rank = np.arange(len(i)) - np.searchsorted(i, i)
        found.append(np.stack([part[i], there[j]], axis=1)[rank < count])
    return np.concatenate(found) if found else np.empty((0, 2), dtype=np.int64)


def unit_vectors(vectors: RowVector) -> np.ndarray:
    """float32 [n, d] of length 1; NaN for nulls and vectors of zeros."""
    values = vectors.values.astype(np.float32)
    norm = np.linalg.norm(values.astype(np.float64), axis=1, keepdims=True)
    return np.divide(values, norm, out=np.full_like(values, np.nan), where=norm > 0)
