"""Random rows that are as long as the picked ones: what is left of a method when its taste for length is taken away."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS = 20
FEWEST = 5  # picks in a bin


def matched(picked: ArrayLike, lengths: ArrayLike, rng: np.random.Generator) -> NDArray[np.int64]:
    """As many rows as were picked, drawn at random among rows of the same lengths; positions, ascending.

    picked: positions [k], no two alike. lengths: of all rows, [n]. The lengths of the picks are cut at their quantiles into
    at most BINS bins of at least FEWEST picks; from each bin of the pool as many rows are drawn, without replacement, as
    were picked there. Picked rows can be drawn again, as random rows can be picked: where a bin holds nothing but picks,
    the draw has no choice. Raises ValueError for positions that repeat or leave the pool.
    """
    index, length = np.asarray(picked, dtype=np.int64), np.asarray(lengths, dtype=np.float64)
    if len(np.unique(index)) < len(index) or (len(index) and not 0 <= index.min() <= index.max() < len(length)):
        raise ValueError("picked positions must differ and lie in the pool")
    if not len(index):
        return index
    bins = max(1, min(BINS, len(index) // FEWEST))
    edges = np.unique(np.quantile(length[index], np.linspace(0, 1, bins + 1), method="inverted_cdf"))
    # Bin b holds lengths above edge b and up to edge b + 1, the first bin its lower edge too.
    of = np.searchsorted(edges[1:], length, side="left") if len(edges) > 1 else np.zeros(len(length), dtype=np.int64)
    outside = (length < edges[0]) | (length > edges[-1])
    of[outside] = -1
    wanted = np.bincount(of[index], minlength=len(edges))
    drawn = [rng.choice(np.flatnonzero(of == b), size=count, replace=False) for b, count in enumerate(wanted) if count]
    return np.sort(np.concatenate(drawn))
