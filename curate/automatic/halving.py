"""One rung of the halving: what arms scored, beside random, and who goes on. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from curate.comparison.statistics import Difference, paired_difference


@dataclass(frozen=True)
class Candidate:
    """A method at a budget, as they are written."""

    method: str
    budget: str

    @property
    def name(self) -> str:
        return f"{self.method} at {self.budget}"


@dataclass(frozen=True)
class Standing:
    """Where an arm stands after a rung.

    value      the mean of the metric over seeds, weighted over items as in a verdict. What arms are ranked by: all have trained
               on as many tokens, with the same seeds, and are measured on the same items.
    diff       value less that of random at the same budget; ci_low to ci_high its interval, over seeds and items, or with one
               seed over items alone; None where it is not known.
    kept       whether it goes on. Random is never ranked: kept None.
    """

    candidate: Candidate
    value: float
    diff: float | None
    ci_low: float | None
    ci_high: float | None
    kept: bool | None

    def to_dict(self) -> dict[str, Any]:
        """Flat, for JSON: method, budget, and the rest."""
        found = asdict(self)
        return {**found.pop("candidate"), **found}


def standings(
    values: Mapping[Candidate, ArrayLike],
    random: Mapping[str, ArrayLike],
    weights: ArrayLike,
    strata: Sequence[Any] | np.ndarray,
    *,
    keep: int,
    lower_is_better: bool = True,
    confidence: float = 0.95,
) -> list[Standing]:
    """The arms of a rung, best first, of which the first `keep` go on; then random at each budget.

    values, random: float [S, I] of each arm, and of random by budget; the same seeds and items in all. weights: [I], and strata
    [I], the source of each item. Equal values keep the order in which the arms are given.
    """
    weight = np.asarray(weights, dtype=np.float64) / np.sum(weights)
    mean = {arm: float((np.asarray(found) @ weight).mean()) for arm, found in values.items()}
    order = sorted(values, key=lambda arm: mean[arm] if lower_is_better else -mean[arm])  # sorted() is stable
    found = []
    for place, arm in enumerate(order):
        difference = difference_of(values[arm], random[arm.budget], weight, strata, confidence)
        ends = [end if isfinite(end) else None for end in (difference.ci_low, difference.ci_high)]
        found.append(Standing(arm, mean[arm], difference.mean, ends[0], ends[1], place < keep))
    references = [
        Standing(Candidate("random", budget), float((np.asarray(value) @ weight).mean()), None, None, None, None)
        for budget, value in random.items()
    ]
    return found + references


def difference_of(
    method: ArrayLike, control: ArrayLike, weights: ArrayLike, strata: Sequence[Any] | np.ndarray, confidence: float = 0.95
) -> Difference:
    """The paired difference of `curate.comparison.statistics`; with one seed its interval is over items alone.

    One seed counted twice has no spread between seeds and no interaction, so what is left of the interval is the items' part.
    """
    pair = [np.repeat(np.asarray(x), 2 if np.shape(method)[0] == 1 else 1, axis=0) for x in (method, control)]
    return paired_difference(pair[0], pair[1], weights, strata, confidence=confidence)  # type: ignore[arg-type]


def cut(found: Sequence[Standing]) -> float | None:
    """The value of the last arm that goes on; None where all do."""
    ranked = [standing for standing in found if standing.kept is not None]
    kept = [standing.value for standing in ranked if standing.kept]
    return kept[-1] if kept and len(kept) < len(ranked) else None


def sizes(arms: int, rungs: int) -> list[int]:
    """How many arms stand on each rung, the last of which leaves one: arms^(1 - r / rungs), rounded up.

    12 arms on 3 rungs: 12, 6, 3.
    """
    return [max(1, int(np.ceil(arms ** (1 - r / rungs) - 1e-9))) for r in range(rungs)]
