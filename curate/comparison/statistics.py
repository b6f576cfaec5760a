"""Is an arm better than its control, and how sure is that? Seeds and evaluation items are both samples, and crossed.

The model. D[s, i] = method - control, for seed s on item i, is an effect plus a part of the seed, a part of the item
and a residual; the parts are random, with mean 0. The estimate is the mean over seeds of sum_i w_i D[s, i], and its
variance is

    var_seed / S + var_item / I + var_residual / (S I).

The estimator. The spread of the S weighted means, V_S, sees the seed part and the residual together, whatever the
seeds do to single sources. The spread of the items' means over seeds within strata, V_I, sees the item part and the
residual; the residual alone, V_R, is known from the interaction. So the variance is V_S + max(V_I - V_R, 0): the
two-way clustered variance of Cameron, Gelbach and Miller (2011), in which V_S is never cut. Items are weighted by
tokens, a ratio, so they vary about the weighted mean of their stratum, with the factor that makes this unbiased for
items of equal variance and uneven weight (n / (n - 1) for equal weights).

The test. V_S has only S - 1 degrees of freedom, so the half-width of the interval at level alpha is

    half^2 = z^2 V + sum over both parts of (t_j^2 - z^2) V r_j^(1 + z / t_j),    V = V_S + V_item,  r_j = V_j / V,

t_j the two-sided quantile at alpha with the degrees of freedom of part j, z that of the normal. It is the t interval where
one part is all there is. With the exponent 1 it is Banerjee's (1960, Sankhya 22:357), which covers at least 1 - alpha and
often far more; with 2, Welch's (1947, Biometrika 34:28) expansion to first order in 1 / degrees of freedom, with the ends
made exact. t_j says how far a part is from large samples: the exponent is near 2 for many degrees of freedom, and falls to 1
where Welch's expansion no longer holds, for few seeds and at the small levels of Holm's correction. (Welch-Satterthwaite
degrees of freedom are too many just when V_S happens to be small: for S = 3 the error rate at a nominal 5% rises to 8%, at
the levels of Holm to four times the nominal.) The p-value is the alpha at which the interval just touches 0.

For independent normal parts and any ratio of the variances the error rate is at most 1.09 times the nominal level, from two
seeds on and at every level down to 0.05 / 12, and at a nominal 5% at least 1.6% for S = 2, 3.4% for S = 3, 4.2% for S = 4,
4.5% for S = 5, 4.8% for S = 10, where there are many items (tests/comparison/test_statistics.py by quadrature;
docs/statistics.md by simulation, with skewed and heavy-tailed items too).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, isfinite, log, nan, sqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

Answer = Literal["better", "worse", "equivalent", "undecided"]

_Floats = NDArray[np.float64]
_Parts = Sequence[tuple[Any, Any]]  # a variance, and its degrees of freedom; numbers or arrays


@dataclass(frozen=True)
class Difference:
    """Method minus control, in the unit of the metric; variances in its square. NaN means unknown.

    `df`: the degrees of freedom of the t interval mean +- t se that equals (`ci_low`, `ci_high`).
    `var_seed`, `var_item`, `var_residual`: se^2 = var_seed / n_seeds + var_item / n_items + var_residual / (n_seeds
    n_items). Where that would take a var_seed below 0, it is 0, and se^2 the smaller of the two.
    """

    mean: float
    se: float
    df: float
    ci_low: float
    ci_high: float
    p_value: float
    n_seeds: int
    n_items: int
    var_seed: float
    var_item: float
    var_residual: float
    parts: tuple[tuple[float, float], ...] = ()  # of se^2, each with its degrees of freedom

    def half_width(self, alpha: float) -> float:
        """Half the width of the interval at level `alpha`; NaN where the standard error is unknown."""
        if not self.parts:
            return nan
        return float(half_width(self.parts, alpha)) if alpha < 1 else 0.0


def paired_difference(
    method: ArrayLike, control: ArrayLike, weights: ArrayLike, strata: ArrayLike, *, confidence: float = 0.95
) -> Difference:
    """Estimate method minus control over seeds and items; the formulas and their sources stand above.

    `method`, `control`: float [S, I], the same S seeds and I items in the same order. `weights`: float [I], not
    negative, used after division by their sum. `strata`: [I], the source each item was drawn from; strata of one item
    are joined, since one item says nothing of its stratum's variance.

    With one seed the variation between seeds is unknown, with one item that between items: `se`, `df`, the interval
    and the p-value are then NaN, and the answer is undecided. If nothing varies, `se` is 0, and the p-value is 1 for a
    mean of 0, else 0. Raises ValueError for shapes that disagree, numbers that are not finite, or no items.
    """
    difference = np.asarray(method, dtype=np.float64) - np.asarray(control, dtype=np.float64)
    weight = np.asarray(weights, dtype=np.float64)
    code = _codes(strata)
    if np.shape(method) != np.shape(control) or difference.ndim != 2 or 0 in difference.shape:
        raise ValueError(f"method and control must both be [seeds, items], not {np.shape(method)}, {np.shape(control)}")
    s, n = difference.shape
    if weight.shape != (n,) or code.shape != (n,):
        raise ValueError(f"{n} items, but weights {weight.shape} and strata {code.shape}")
    if not np.all(np.isfinite(difference)) or not np.all(np.isfinite(weight)):
        raise ValueError("method, control and weights must be finite")
    if np.any(weight < 0) or weight.sum() <= 0:
        raise ValueError("weights must not be negative, and must not all be 0")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    weight = weight / weight.sum()

    mean = float((difference @ weight).mean())
    if s == 1 or n == 1 or np.count_nonzero(weight) == 1:
        return Difference(mean, nan, nan, nan, nan, nan, s, n, nan, nan, nan)
    found = variances(difference, weight, code)
    seeds, alone, residual = float(found.seeds), float(found.items), float(found.residual)
    parts = ((seeds, s - 1.0), (alone, float(found.freedom)))

    se = sqrt(seeds + alone)
    half = float(half_width(parts, 1 - confidence))
    return Difference(
        mean=mean,
        se=se,
        df=_freedom(half, 1 - confidence, parts),
        ci_low=mean - half,
        ci_high=mean + half,
        p_value=_p_value(abs(mean), parts),
        n_seeds=s,
        n_items=n,
        var_seed=s * max(seeds - residual, 0.0),
        var_item=n * alone,
        var_residual=s * n * residual,
        parts=parts,
    )


def _codes(strata: ArrayLike | Sequence[Any]) -> NDArray[np.int64]:
    codes: dict[Any, int] = {}
    labels = strata.tolist() if isinstance(strata, np.ndarray) else list(strata)  # type: ignore[arg-type]
    return np.array([codes.setdefault(label, len(codes)) for label in labels], dtype=np.int64)


@dataclass(frozen=True)
class Variances:
    """Parts of the variance of the estimate, [...]: V_S, max(V_I - V_R, 0) with its degrees of freedom, and V_R."""

    seeds: _Floats
    items: _Floats
    freedom: _Floats
    residual: _Floats


def variances(difference: _Floats, weight: _Floats, code: NDArray[np.int64]) -> Variances:
    """The parts for differences [..., S, I] under weights [I] of sum 1, in strata numbered `code`, [I]; S and I above 1.

    The degrees of freedom of a sum over strata h are (sum V_h)^2 / sum(V_h^2 / (f_h + 2)) - 2, nearly unbiased (Welch 1947);
    without the 2s, V_h^2 is too large on average, and strata of a few items would seem to know less than they do.
    """
    s = difference.shape[-2]
    items = residual = spread = np.zeros(difference.shape[:-2])
    for members in _joined(code, weight):
        part, w = difference[..., members], weight[members]
        v = w / w.sum()
        within = part - (part @ v)[..., None]  # about each seed's own mean of the stratum
        mean = within.mean(axis=-2)
        square = w**2
        factor = square.sum() / float(square @ ((1 - v) ** 2 + np.maximum(v @ v - v**2, 0.0)))
        here = factor * (mean**2 @ square)
        items = items + here
        residual = residual + factor * ((within - mean[..., None, :]) ** 2 @ square).sum(axis=-1) / (s * (s - 1))
        spread = spread + here**2 / (_quadratic_freedom(square, v) + 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = np.where(spread > 0, items**2 / spread - 2, inf)
    seeds = (difference @ weight).var(axis=-1, ddof=1) / s
    return Variances(seeds, np.maximum(items - residual, 0.0), freedom, residual)


def _joined(code: NDArray[np.int64], weight: _Floats) -> list[NDArray[np.int64]]:
    """Members of each stratum with weight; those of one item joined, and with the next smallest if still alone."""
    groups = [np.flatnonzero((code == c) & (weight > 0)) for c in np.unique(code[weight > 0])]
    single = [g for g in groups if g.size == 1]
    rest = sorted((g for g in groups if g.size > 1), key=len, reverse=True)
    if len(single) == 1:
        single.append(rest.pop())
    return rest + ([np.concatenate(single)] if single else [])


def _quadratic_freedom(square: _Floats, v: _Floats) -> float:
    """Degrees of freedom tr(A)^2 / tr(A^2) of sum_i square_i (z_i - sum_j v_j z_j)^2, for items of equal variance.

    A = (1 - 1 v')' diag(square) (1 - 1 v'); n - 1 for equal weights.
    """
    q, a, b, c = square.sum(), square @ square, square @ v, v @ v
    trace = q - 2 * b + q * c
    of_square = a - 4 * (square**2 @ v) + 2 * q * (square @ v**2) + 2 * (b**2 + a * c) - 4 * q * b * c + (q * c) ** 2
    return float(trace**2 / of_square)


def t_quantile(alpha: float, freedom: Any) -> Any:
    """What |t| exceeds with probability `alpha`; Student's t, with infinite degrees of freedom the normal."""
    return np.where(np.isfinite(freedom), -special.stdtrit(freedom, alpha / 2), -special.ndtri(alpha / 2))


def half_width(parts: _Parts, alpha: float) -> Any:
    """Half the width of the interval at level `alpha`, 0 < alpha < 1; the formula stands above. Vectorised over the parts."""
    z = -special.ndtri(alpha / 2)
    total = sum(variance for variance, _ in parts)
    square = z**2 * total
    for variance, freedom in parts:
        t = np.maximum(t_quantile(alpha, freedom), z)  # the library's quantiles meet only up to rounding
        share = variance / np.where(total > 0, total, 1.0)
        square = square + (t**2 - z**2) * total * share ** (1 + z / t)
    return np.sqrt(square)


def _p_value(distance: float, parts: _Parts) -> float:
    """The alpha at which the half-width equals `distance`."""
    smallest, largest = 1e-100, 1 - 1e-9
    if half_width(parts, largest) >= distance:
        return 1.0
    if half_width(parts, smallest) <= distance:
        return 0.0
    log_p = optimize.brentq(lambda x: half_width(parts, exp(x)) - distance, log(smallest), log(largest), xtol=1e-10)
    return exp(float(log_p))


def _freedom(half: float, alpha: float, parts: _Parts) -> float:
    """The degrees of freedom at which t times the standard error is `half`; at least the fewest of the parts."""
    present = [(v, f) for v, f in parts if v > 0]
    if not present:
        return inf
    quantile = half / sqrt(sum(v for v, _ in present))
    high = 1 / min(f for _, f in present)

    def excess(inverse: float) -> float:
        return float(t_quantile(alpha, 1 / inverse)) - quantile

    if excess(1e-9) >= 0:
        return inf
    if excess(high) <= 0:
        return 1 / high
    return 1 / float(optimize.brentq(excess, 1e-9, high))


def weights_by_source(tokens: ArrayLike, sources: Sequence[Any] | NDArray[Any]) -> _Floats:
    """Weights, [I] with sum 1, that make a weighted sum of item means the mean over sources of token-weighted means.

    w_i = tokens_i / (tokens in the source of i) / (number of sources). `tokens`: [I], loss tokens per item, at least 0.
    `sources`: [I]; items with None form a source of their own. Raises ValueError for no items, tokens that are
    negative or not finite, lengths that disagree, or a source without any tokens, whose mean would not exist.
    """
    counted = np.asarray(tokens, dtype=np.float64)
    code = _codes(sources)
    if counted.ndim != 1 or counted.size == 0 or code.shape != counted.shape:
        raise ValueError(f"tokens {counted.shape} and sources {code.shape} must be two equal lists, not empty")
    if not np.all(np.isfinite(counted)) or np.any(counted < 0):
        raise ValueError("tokens must be finite and not negative")
    totals = np.bincount(code, weights=counted)
    if np.any(totals == 0):
        raise ValueError(f"source {sources[int(np.argmax(totals[code] == 0))]!r} has no tokens")
    return counted / totals[code] / totals.size


def holm(p_values: Sequence[float] | _Floats, *, among: int = 0) -> _Floats:
    """Holm's (1979) adjusted p-values, [m]: reject those at most alpha, and the family-wise error is at most alpha.

    The i-th smallest becomes the largest over j <= i of (m - j + 1) p_(j), at most 1. NaN stays NaN and does not
    count in m: a comparison without a p-value can never be called significant, so it can cause no false alarm.
    among: how many comparisons these were picked from for how they came out; m is at least that.
    Raises ValueError for a p-value outside [0, 1].
    """
    p = np.asarray(p_values, dtype=np.float64)
    there = np.flatnonzero(~np.isnan(p))
    if np.any((p[there] < 0) | (p[there] > 1)):
        raise ValueError("p-values must lie between 0 and 1")
    ordered = there[np.argsort(p[there], kind="stable")]
    adjusted = np.full(p.shape, nan)
    steps = max(ordered.size, among) - np.arange(ordered.size)
    adjusted[ordered] = np.minimum(np.maximum.accumulate(p[ordered] * steps), 1.0)
    return adjusted


def answer(
    difference: Difference, p_adjusted: float, *, margin: float, lower_is_better: bool = True, alpha: float = 0.05
) -> Answer:
    """The answer for an arm: better or worse than its control, equivalent within `margin`, or undecided.

    Better and worse come first: an adjusted p-value of at most `alpha` decides by the sign of the mean, even where the
    effect is so small that it lies within the margin (the interval then shows how small). Otherwise equivalent means
    that the (1 - 2 alpha) interval lies inside (-margin, margin): two one-sided tests at level alpha (Schuirmann 1987),
    not corrected for the number of arms. Everything else, and every unknown p-value, is undecided.
    `margin`: in the unit of the metric; 0 or more, and at 0 nothing is equivalent. Raises ValueError for less.
    """
    if not margin >= 0:
        raise ValueError(f"margin must be at least 0, not {margin}")
    if not isfinite(difference.se) or not isfinite(p_adjusted):
        return "undecided"
    if p_adjusted <= alpha and difference.mean != 0:
        return "better" if (difference.mean < 0) == lower_is_better else "worse"
    return "equivalent" if abs(difference.mean) + difference.half_width(2 * alpha) < margin else "undecided"
