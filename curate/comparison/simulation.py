"""Comparisons whose truth is known, and how often an answer is false: what the rule of `statistics` is judged by.

`draw` makes differences from the model that `statistics` assumes, and from ones that it does not (heavy tails, skew, noise of
seeds in single sources). `disguised` makes comparisons of random with random out of real losses of random arms.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from curate.comparison.statistics import answer, half_width, holm, paired_difference, variances, weights_by_source

Shape = Literal["normal", "heavy", "skewed"]
Rule = Callable[[Any, float], Any]  # from the parts, and a level, to half the width of the interval
_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """What a simulated comparison is like; its estimate has variance 1.

    seeds, items   how many.
    by_seed        the share of the variance that seeds make.
    by_residual    the share that the interaction of seeds and items makes, of what the seeds leave.
    shape          of the items' differences: normal; heavy (Student's t with 3 degrees of freedom); skewed (exponential).
    sources        how many, of unequal sizes (each some 0.8 of the one before).
    local          the noise of seeds is another one in every source.
    """

    seeds: int
    items: int
    by_seed: float
    by_residual: float = 0.2
    shape: Shape = "normal"
    sources: int = 9
    local: bool = False

    @property
    def strata(self) -> NDArray[np.int64]:
        """The source of each item, [I]; every source has two items or more."""
        sizes = 0.8 ** np.arange(self.sources)
        counts = 2 + np.floor((self.items - 2 * self.sources) * sizes / sizes.sum()).astype(int)
        counts[0] += self.items - counts.sum()
        return np.repeat(np.arange(self.sources), counts)


def draw(cell: Cell, runs: int, rng: np.random.Generator, *, effect: float = 0.0) -> tuple[_Floats, _Floats]:
    """Differences, [runs, S, I], of this effect in standard errors of the estimate; and the weights, [I], uneven in tokens."""
    strata = cell.strata
    weights = weights_by_source(rng.lognormal(4, 0.8, cell.items), strata)
    scale = rng.lognormal(0, 0.5, cell.sources)[strata]  # sources differ in how much their items vary
    scale /= np.sqrt((weights**2 * scale**2).sum())
    shape = (runs, cell.seeds, 1)
    if cell.local:
        seeds = rng.standard_normal((runs, cell.seeds, cell.sources))[..., strata] * np.sqrt(cell.sources)
    else:
        seeds = rng.standard_normal(shape)
    rest = 1 - cell.by_seed
    residual = rng.standard_normal((runs, cell.seeds, cell.items), dtype=np.float32)
    residual *= (scale * np.sqrt(rest * cell.by_residual * cell.seeds)).astype(np.float32)
    items = _shaped(cell.shape, (runs, 1, cell.items), rng) * scale * np.sqrt(rest * (1 - cell.by_residual))
    return effect + seeds * np.sqrt(cell.by_seed * cell.seeds) + items + residual, weights


def _shaped(shape: Shape, size: tuple[int, ...], rng: np.random.Generator) -> _Floats:
    if shape == "heavy":
        return rng.standard_t(3, size) / np.sqrt(3)
    return rng.exponential(size=size) - 1 if shape == "skewed" else rng.standard_normal(size)


@dataclass(frozen=True)
class Runs:
    """What simulated comparisons came to: estimates, [R], and the parts of their variances as `half_width` takes them."""

    estimates: _Floats
    parts: tuple[tuple[_Floats, Any], tuple[_Floats, _Floats]]


def run(cell: Cell, runs: int, seed: int, *, effect: float = 0.0, at_once: int = 4_000_000) -> Runs:
    """Simulate so many comparisons and take the variances of each by `statistics.variances`; `at_once` numbers at a time."""
    rng = np.random.default_rng(seed)
    found = []
    batch = max(1, min(runs // 40, at_once // (cell.seeds * cell.items)))  # each has weights of its own
    for begin in range(0, runs, batch):
        difference, weights = draw(cell, min(batch, runs - begin), rng, effect=effect)
        parts = variances(difference, weights, cell.strata)
        found.append(((difference @ weights).mean(axis=-1), parts.seeds, parts.items, parts.freedom))
    estimates, seeds, items, freedom = (np.concatenate(part) for part in zip(*found))
    return Runs(estimates, ((seeds, cell.seeds - 1.0), (items, freedom)))


def rates(runs: Runs, alpha: float, *, truth: float = 0.0, rule: Rule = half_width) -> dict[str, float]:
    """Shares of the runs whose interval at level `alpha` lies below and above the truth, or covers it, and its median half."""
    half = rule(runs.parts, alpha)
    below, above = float(np.mean(runs.estimates + half < truth)), float(np.mean(runs.estimates - half > truth))
    return {"below": below, "above": above, "covered": 1 - below - above, "half": float(np.median(half))}


def disguised(
    losses: _Floats, tokens: _Floats, sources: NDArray[Any], *, arms: int, seeds: int, rng: np.random.Generator
) -> list[str]:
    """The answers of one comparison of random with itself under other names: `arms` of them, corrected as one family.

    `losses`: [N, I], real losses of N random arms on I items; `tokens` and `sources`: [I]. The control and every disguise
    draw their seeds from the N arms with replacement, no two the same arm for the same seed; items are drawn with
    replacement within their sources and shared, as in a comparison.
    """
    items = _items(sources, rng)
    picked = np.array([rng.choice(len(losses), arms + 1, replace=False) for _ in range(seeds)])  # [S, arms + 1]
    weights = weights_by_source(tokens[items], sources[items])
    control = losses[picked[:, 0]][:, items]
    found = [paired_difference(losses[picked[:, arm]][:, items], control, weights, sources[items]) for arm in range(1, arms + 1)]
    adjusted = holm([difference.p_value for difference in found])
    return [answer(difference, p, margin=0.0) for difference, p in zip(found, adjusted)]


def leader(
    losses: _Floats, tokens: _Floats, sources: NDArray[Any], *, arms: int, seeds: int, rng: np.random.Generator, among: int
) -> str:
    """The answer of the best of some disguised random arms against one more random arm, the control that leaders are given.

    among: how many tests it counts as one of. The rest as for `disguised`.
    """
    items = _items(sources, rng)
    picked = np.array([rng.choice(len(losses), arms + 1, replace=False) for _ in range(seeds)])
    weights = weights_by_source(tokens[items], sources[items])
    best = int(np.argmin([(losses[picked[:, arm]][:, items] @ weights).mean() for arm in range(arms)]))
    found = paired_difference(losses[picked[:, best]][:, items], losses[picked[:, -1]][:, items], weights, sources[items])
    return answer(found, holm([found.p_value], among=among)[0], margin=0.0)


def _items(sources: NDArray[Any], rng: np.random.Generator) -> NDArray[np.int64]:
    """Items drawn with replacement within their sources."""
    every = [np.flatnonzero(sources == source) for source in np.unique(sources)]
    return np.concatenate([rng.choice(some, len(some)) for some in every])
