"""Searches whose truth is known, without training: how often they are wrong, and how often they find what is there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curate.automatic.halving import Candidate, sizes, standings
from curate.comparison.simulation import Cell, draw
from curate.comparison.statistics import answer, holm, paired_difference

BUDGET = "10%"


@dataclass(frozen=True)
class Simulated:
    """A search of so many arms. cell: what differences are like; its seeds and items are those of halving and confirmation both.

    seeds       of each rung; the confirmation has those of the cell that are left.
    same_items, same_seeds   the mistake: confirm on what the halving looked at.
    """

    arms: int
    cell: Cell
    seeds: tuple[int, ...] = (1, 2, 3)
    same_items: bool = False
    same_seeds: bool = False

    def run(self, rng: np.random.Generator, effects: Sequence[float] = ()) -> tuple[int, str]:
        """(which arm won, what the confirmation says of it). effects: of the first arms, in standard errors of an arm's mean over
        the cell's seeds and items; the others and random have none."""
        losses, weights = draw(self.cell, self.arms + 1, rng)  # random is the last
        losses[: len(effects)] += np.array(effects, dtype=np.float64)[:, None, None]
        first, later = np.arange(0, self.cell.items, 2), np.arange(1, self.cell.items, 2)
        most, strata = max(self.seeds), self.cell.strata
        arms = [Candidate(str(i), BUDGET) for i in range(self.arms)]
        keeps = [*sizes(self.arms, len(self.seeds))[1:], 1]
        for count, keep in zip(self.seeds, keeps, strict=True):
            part = losses[:, :count][..., first]
            values = {arm: part[int(arm.method)] for arm in arms}
            found = standings(values, {BUDGET: part[-1]}, weights[first], strata[first], keep=keep)
            arms = [standing.candidate for standing in found if standing.kept]
        winner = int(arms[0].method)
        items = first if self.same_items else later
        seeds = slice(0, most) if self.same_seeds else slice(most, None)
        mine, control = losses[winner, seeds][:, items], losses[-1, seeds][:, items]
        difference = paired_difference(mine, control, weights[items], strata[items])
        return winner, answer(difference, holm([difference.p_value])[0], margin=0.0)
