"""Planted truth: rows spoiled on purpose judge a score and a selection.

No method can read it; it only says afterwards whether a score ranks spoiled rows low, how many of them were picked,
and whether rare groups were reached.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special
from scipy.stats import rankdata

_Z = float(special.ndtri(0.975))


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95% interval; NaN where there is nothing to estimate from."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Coverage:
    """`rare_groups`: how many groups are rare in the pool; `rare_covered`: how many of those have at least one pick.

    `share_by_group`: for each group, its share of the picks divided by its share of the pool (1: as in the pool).
    """

    rare_groups: int
    rare_covered: int
    share_by_group: dict[str, float]


def auroc(score: ArrayLike, defect: ArrayLike, clean: ArrayLike) -> Interval:
    """The probability that a random clean row scores above a random defect row: 1 is perfect, 0.5 is chance.

    `score`: float [n], higher is better, NaN is null and left out. `defect`, `clean`: bool [n]; rows that are neither
    are left out, and no row may be both. Ties count half (Mann-Whitney). The interval holds every area A for which
    |value - A| <= 1.96 sqrt(V(A)), with the variance V of Hanley and McNeil (1982) as Newcombe (2006, Statistics in
    Medicine 25:559, method 5) has it; so it stays inside [0, 1] and has a width even at 0 and 1. NaN when either side
    is empty. Raises ValueError for lengths that disagree.
    """
    values = np.asarray(score, dtype=np.float64)
    bad, good = _flags(defect, values.shape, "defect"), _flags(clean, values.shape, "clean")
    if np.any(bad & good):
        raise ValueError("a row cannot be both defect and clean")
    there = ~np.isnan(values)
    low, high = values[bad & there], values[good & there]
    m, n = low.size, high.size
    if m == 0 or n == 0:
        return Interval(nan, nan, nan)
    ranks = rankdata(np.concatenate([high, low]))[:n]
    area = float((ranks.sum() - n * (n + 1) / 2) / (n * m))
    return Interval(area, *_area_interval(area, m, n))


def _area_interval(area: float, m: int, n: int) -> tuple[float, float]:
    half = (m + n) / 2 - 1

    def variance(a: float) -> float:
        return a * (1 - a) * (1 + half * (1 - a) / (2 - a) + half * a / (1 + a)) / (m * n)

    def outside(a: float) -> float:
        return abs(a - area) - _Z * sqrt(max(variance(a), 0.0))

    edge = 1e-12  # V is 0 at 0 and 1, so there `outside` has a root that is none of ours
    low = float(optimize.brentq(outside, 0.0, min(area, 1 - edge))) if area > 0 else 0.0
    high = float(optimize.brentq(outside, max(area, edge), 1.0)) if area < 1 else 1.0
    return low, high


def enrichment(picked: ArrayLike, defect: ArrayLike) -> Interval:
    """The share of defects among the picked rows divided by their share in the pool: below 1 they were avoided.

    `picked`, `defect`: bool [n]; or `picked` is [s, n] for s selections, equal ones of which count once. The interval is that
    of Clopper and Pearson for the share among the picks, exact for picks drawn one by one and conservative when they are a
    large part of the pool, divided by the pool's share, which is known. Selections that share rows are not so many picks by
    themselves: with their share pooled, the interval is that of as many picks as there are different rows in them. NaN when
    nothing was picked or the pool has no defect. Raises ValueError for lengths that disagree.
    """
    given = np.asarray(picked)
    rows = [_flags(flags, np.shape(defect), "picked") for flags in (given if given.ndim == 2 else given[None])]
    bad = _flags(defect, np.shape(defect), "defect")
    chosen = np.stack(list({flags.tobytes(): flags for flags in rows}.values()))
    if not chosen.any() or not bad.any():
        return Interval(nan, nan, nan)
    pool, found = float(bad.mean()), float((chosen & bad).sum() / chosen.sum())
    k = int(chosen.any(axis=0).sum())
    x = found * k
    low = float(special.betaincinv(x, k - x + 1, 0.025)) if found > 0 else 0.0
    high = float(special.betaincinv(x + 1, k - x, 0.975)) if found < 1 else 1.0
    return Interval(found / pool, low / pool, high / pool)


def coverage(picked: ArrayLike, group: Sequence[str | None], *, rare_below: float = 0.02) -> Coverage:
    """How many rare groups the picks reach, and how each group's share changed from pool to picks.

    `picked`: bool [n]. `group`: [n], None for rows of no group, which count in the pool and the picks only. A group is
    rare when it holds less than `rare_below` of the pool. With no picks the shares are NaN. Raises ValueError for
    lengths that disagree.
    """
    chosen = _flags(picked, (len(group),), "picked")
    pool = Counter(g for g in group if g is not None)
    taken = Counter(g for g, yes in zip(group, chosen.tolist(), strict=True) if yes and g is not None)
    n, k = chosen.size, int(chosen.sum())
    rare = [g for g, size in pool.items() if size < rare_below * n]
    return Coverage(
        rare_groups=len(rare),
        rare_covered=sum(taken[g] > 0 for g in rare),
        share_by_group={g: (taken[g] / k) / (pool[g] / n) if k else nan for g in sorted(pool)},
    )


def _flags(values: ArrayLike, shape: tuple[int, ...], name: str) -> NDArray[np.bool_]:
    flags = np.asarray(values)
    if flags.size == 0:
        flags = flags.astype(bool)
    if flags.dtype != bool or flags.ndim != 1 or flags.shape != shape:
        raise ValueError(f"{name} must be a flat list of true and false, one per row, not {flags.dtype} {flags.shape}")
    return flags
