"""How well predictions of pairs rank them: against the true values, and against chance."""

import math
from dataclasses import dataclass

import numpy as np

PERMUTATIONS = 999
LEVEL = 0.05  # of p
SHARES = (0.1, 0.3)  # of the pairs whose overlap is told: the best, and what NN-CIFT's paper selects


@dataclass(frozen=True)
class Agreement:
    """Of predicted with true values of some pairs.

    spearman  rank correlation; NaN where either is the same for all.
    overlaps  of the top of the pairs by truth, which part is in the top by prediction, for each of `SHARES`; by chance it is
              the share.
    p         how often predictions of other rows and other examples rank these pairs as well, from 1 / 1,000 to 1.
    least     about what p is where no other order ranks them as well: 1 over the number of orders.
    """

    spearman: float
    overlaps: tuple[float, ...]
    p: float
    least: float

    @property
    def by_chance(self) -> bool:
        """Whether chance would do as well: p is at least 0.05."""
        return not self.p < LEVEL

    @property
    def too_small(self) -> bool:
        """Whether so few rows and examples could not be told from chance however well they were ranked."""
        return not self.least < LEVEL


def agreement(predicted: np.ndarray, true: np.ndarray, rng: np.random.Generator) -> Agreement:
    """Of two float [n, m] of the same pairs; pairs whose true value is NaN are left out.

    Pairs of one row are not independent, nor are those of one example, so p is not that of a rank correlation of so many numbers:
    rows and examples of the predictions are permuted, each as a whole.
    """
    there = ~np.isnan(true)
    overlaps = tuple(top_overlap(predicted[there], true[there], share) for share in SHARES)
    rho, (n, m) = spearman(predicted[there], true[there]), true.shape
    least = 1 / min(math.factorial(n) * math.factorial(m), 1 + PERMUTATIONS)
    if np.isnan(rho):
        return Agreement(rho, overlaps, 1.0, least)
    ranked, wanted = ranks(predicted), _standard(ranks(true[there]))

    def like(rows: np.ndarray, examples: np.ndarray) -> float:
        return float(np.dot(_standard(ranked[np.ix_(rows, examples)][there]), wanted))

    now = like(np.arange(n), np.arange(m)) - 1e-9
    above = sum(like(rng.permutation(n), rng.permutation(m)) >= now for _ in range(PERMUTATIONS))
    return Agreement(rho, overlaps, (1 + above) / (1 + PERMUTATIONS), least)


def ranks(values: np.ndarray) -> np.ndarray:
    """float64, the shape of the values: the rank of each among all, from 1, ties at their mean rank."""
    from scipy.stats import rankdata

    return rankdata(values, axis=None).reshape(values.shape)


def _standard(values: np.ndarray) -> np.ndarray:
    apart = values - values.mean()
    return apart / max(np.linalg.norm(apart), np.finfo(np.float64).tiny)


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Rank correlation of two float [n], ties at their mean rank; NaN below 2 or where one is the same for all."""
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.dot(_standard(ranks(one)), _standard(ranks(other))))


def top_overlap(predicted: np.ndarray, true: np.ndarray, share: float) -> float:
    """Of the ceil(share n) largest of `true`, which part is among as many of `predicted`; ties to the smaller position."""
    count = int(np.ceil(share * len(true)))
    tops = [set(np.argsort(-values, kind="stable")[:count].tolist()) for values in (predicted, true)]
    return len(tops[0] & tops[1]) / count if count else float("nan")
