"""How much selections agree that were made anew: for each seed, say."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike


def mean_jaccard(picks: Sequence[ArrayLike]) -> float:
    """The mean over all pairs of selections of |A & B| / |A | B|, from 0 (nothing in common) to 1 (the same rows).

    picks: int [k_s] each, positions. NaN for fewer than two selections, and for pairs of which both are empty.
    """
    sets = [np.unique(np.asarray(positions, dtype=np.int64)) for positions in picks]
    shares = []
    for one, other in combinations(sets, 2):
        common = len(np.intersect1d(one, other, assume_unique=True))
        union = len(one) + len(other) - common
        shares.append(common / union if union else np.nan)
    return float(np.mean(shares)) if shares else float("nan")


def jaccard_by_chance(sizes: Sequence[int], rows: int) -> float:
    """What `mean_jaccard` is in expectation for random selections of these sizes out of so many rows; about k / (2n - k).

    |A & B| is hypergeometric. NaN for fewer than two sizes, and for pairs of which both are 0.
    """
    known: dict[tuple[int, int], float] = {}
    pairs = [(min(pair), max(pair)) for pair in combinations(sizes, 2)]
    for small, large in pairs:
        if (small, large) not in known:
            known[small, large] = _expected(small, large, rows)
    return float(np.mean([known[pair] for pair in pairs])) if pairs else float("nan")


def _expected(small: int, large: int, rows: int) -> float:
    from scipy.stats import hypergeom

    if not large:
        return float("nan")
    mean = small * large / rows
    spread = 12 * np.sqrt(mean * (1 - small / rows) * (1 - large / rows)) + 1  # what lies further away has no weight
    common = np.arange(max(0, small + large - rows, int(mean - spread)), min(small, int(mean + spread) + 1) + 1)
    return float(hypergeom.pmf(common, rows, large, small) @ (common / (small + large - common)))
