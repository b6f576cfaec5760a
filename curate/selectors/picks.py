"""What every selector returns, and the rules that they share."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from curate.budget import Limit

if TYPE_CHECKING:
    from curate.pool import Rewrite


@dataclass(frozen=True, eq=False)
class Picks:
    """The rows a selector chose, best first. All fields but `nulls`, `shortfall` and `remarks` have one entry per pick.

    `index`: int64 [k], positions in the pool, each at most once.
    `gain`: float64 [k], the score for top-k, the marginal gain for a greedy rule; NaN where it has no meaning.
    `stratum`: the group a pick came from, None where there are no groups (or the row belongs to none).
    `reason`: why, for a person to read.
    `nulls`: how many rows were left out because their score is null.
    `tokens`: how much each scored token of a pick counts in training, a float32 [R] per pick; None: all the same.
    `shortfall`: one sentence when fewer rows than the budget allows were left, else None.
    `remarks`: sentences on these picks that a user should know.
    `rewritten`: what stands in place of a pick's last reply, None where it stays; None altogether: of a method that only chooses.
    """

    index: NDArray[np.int64]
    gain: NDArray[np.float64]
    stratum: list[str | None]
    reason: list[str]
    nulls: int
    shortfall: str | None
    tokens: list[NDArray[np.float32]] | None = None
    remarks: tuple[str, ...] = ()
    rewritten: "Sequence[Rewrite | None] | None" = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", np.asarray(self.index, dtype=np.int64))
        object.__setattr__(self, "gain", np.asarray(self.gain, dtype=np.float64))
        k = self.index.size
        if self.index.shape != (k,) or self.gain.shape != (k,) or len(self.stratum) != k or len(self.reason) != k:
            raise ValueError("index, gain, stratum and reason must have one entry per pick")
        if self.tokens is not None and len(self.tokens) != k:
            raise ValueError("tokens must have one entry per pick")
        if self.rewritten is not None and len(self.rewritten) != k:
            raise ValueError("rewritten must have one entry per pick")

    def __len__(self) -> int:
        return int(self.index.size)


def scores(values: object, limit: Limit) -> NDArray[np.float64]:
    """`values` as float64 [n], NaN for null; ValueError unless it has one number per cost."""
    array = np.asarray(values, dtype=np.float64)
    if array.shape != limit.costs.shape:
        raise ValueError(f"{array.shape} scores for {limit.costs.size} costs")
    return array


def prefix(order: NDArray[np.int64], limit: Limit) -> NDArray[np.int64]:
    """The rows of `order` (positions, best first) up to the one that would exceed the capacity.

    It stops there instead of trying later, cheaper rows, so that a smaller budget gives a prefix of a larger one.
    """
    if limit.capacity == 0:
        return order[:0]
    spent = np.cumsum(limit.costs[order])
    return order[: int(np.searchsorted(spent, limit.capacity, side="right"))]


def take(
    steps: Iterable[tuple[int, float]], eligible: NDArray[np.int64], limit: Limit
) -> tuple[NDArray[np.int64], NDArray[np.float64], str | None]:
    """(positions [k], gains [k], shortfall) of a greedy rule, up to the row that would exceed the capacity, as in `prefix`.

    steps: places in `eligible` (positions that may be picked) with their gains, best first; read no further than needed.
    """
    places: list[int] = []
    gains: list[float] = []
    spent, first = 0.0, eligible
    for place, gain in steps if limit.capacity else ():
        spent += float(limit.costs[eligible[place]])
        if spent > limit.capacity:
            first = np.roll(eligible, -place)
            break
        places.append(place)
        gains.append(gain)
    picked = eligible[np.array(places, dtype=np.int64)]
    return picked, np.array(gains, dtype=np.float64), shortfall(picked, first, limit)


def shortfall(picked: NDArray[np.int64], eligible: NDArray[np.int64], limit: Limit) -> str | None:
    """Say that the rows ran out before the budget did, or that the budget is too small for even one row."""
    if limit.capacity == 0:
        return None
    if picked.size < eligible.size:
        if picked.size:
            return None
        first = limit.costs[eligible[0]]
        return f"The first row needs {first:,.0f} {limit.unit}, more than the budget of {limit.capacity:,.0f}."
    held = float(limit.costs[eligible].sum())
    if held >= limit.capacity:
        return None
    rows = f"{eligible.size:,} of {limit.costs.size:,} rows could be used"
    if limit.unit == "rows":
        return f"The budget allows {limit.capacity:,.0f} rows, but only {rows}."
    return f"The budget allows {limit.capacity:,.0f} {limit.unit}, but only {rows}, and they hold {held:,.0f}."
