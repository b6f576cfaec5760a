"""What one method picked, as overviews look at it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curate.answers import Seen
from curate.choices import Choice
from curate.selectors.picks import Picks
from curate.signals import RowScore


@dataclass(frozen=True)
class Picked:
    """A method's scores of all rows of a prepared pool, and its picks.

    picks       None where the method only scored.
    scores      of all rows; all null for a method that scores none.
    preference  float64 [n], the scores as the method's choice reads them, higher is kept first; NaN where null.
    by_chance   whether rows are drawn, so that a score says nothing.
    seen        the answers that it was made from.
    """

    name: str
    picks: Picks | None
    scores: RowScore
    preference: np.ndarray
    by_chance: bool
    seen: Seen

    @classmethod
    def of(cls, choice: Choice) -> "Picked":
        """From a choice that kept its scores."""
        assert choice.scores is not None and choice.preference is not None
        method = choice.method
        return cls(choice.name, choice.picks, choice.scores, choice.preference, method.by_chance, choice.seen)

    @property
    def scored(self) -> bool:
        """Whether rows have a score that says something of them."""
        return not self.by_chance and bool(np.isfinite(self.preference).any())

    @property
    def index(self) -> np.ndarray:
        """int64 [k]: the positions that were picked, in the method's order."""
        return np.empty(0, np.int64) if self.picks is None else self.picks.index


def choosing(picked: Sequence[Picked]) -> dict[str, np.ndarray]:
    """The picks by method, int64 [k], of the methods that picked."""
    return {one.name: one.index for one in picked if one.picks is not None}
