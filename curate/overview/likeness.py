"""How alike methods are: in what they pick, and in how they rank the rows."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from curate.overview.picked import Picked, choosing
from curate.stability import jaccard_by_chance, mean_jaccard

RANKED = 5_000  # rows that rankings are compared on, drawn at random where there are more


def likeness(picked: Sequence[Picked], rows: int, rng: np.random.Generator) -> dict[str, Any]:
    """Of each pair of methods the Jaccard index of their picks, with what random picks would have, and Kendall's tau-b of their
    preferences, over the rows that both score.

    picks: [a, b, jaccard, by chance]; ranks: [a, b, tau]; ranked: on how many rows.
    """
    from scipy.stats import kendalltau

    chosen = choosing(picked)
    picks = [
        [a, b, mean_jaccard([one, other]), jaccard_by_chance([len(one), len(other)], rows)]
        for (a, one), (b, other) in combinations(chosen.items(), 2)
        if len(one) or len(other)
    ]
    sample = np.sort(rng.permutation(rows)[:RANKED])
    ranks = []
    for one, other in combinations([one for one in picked if one.scored], 2):
        left, right = one.preference[sample], other.preference[sample]
        both = np.isfinite(left) & np.isfinite(right)
        tau = float(kendalltau(left[both], right[both]).statistic) if both.sum() > 1 else float("nan")
        if np.isfinite(tau):
            ranks.append([one.name, other.name, tau])
    return {"picks": picks, "ranks": ranks, "ranked": len(sample)}
