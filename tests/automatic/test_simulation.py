"""How often a search is wrong, simulated; the whole is `benchmarks/auto_truth.py` (docs/auto.md)."""

import numpy as np
import pytest

from curate.automatic.simulation import Simulated
from curate.comparison.simulation import Cell

# Thirty arms, one rung of five seeds; five more seeds, and the other half of 80 items, confirm. Noise of items, and of seeds.
ITEMS, SEEDS = Cell(10, 80, 0.02, 0.05, sources=3), Cell(10, 80, 0.9, 0.05, sources=3)


def answers(cell, runs=100, effects=(), arms=30, **mistake):
    rng = np.random.default_rng(1)
    return [Simulated(arms, cell, (5,), **mistake).run(rng, effects) for _ in range(runs)]


def better(found):
    return sum(word == "better" for _, word in found)


@pytest.mark.parametrize("cell, mistake", [(ITEMS, "same_items"), (SEEDS, "same_seeds")])
def test_where_nothing_is_better_it_is_not_said_unless_it_is_confirmed_on_what_was_searched_by(cell, mistake):
    """On the items, or with the seeds, that the winner was picked by, it was lucky already."""
    assert better(answers(cell)) <= 5
    assert better(answers(cell, **{mistake: True})) > 8


def test_what_is_better_is_found():
    found = answers(Cell(10, 80, 0.3, sources=3), runs=20, effects=[-8.0], arms=12)
    assert sum(who == 0 and word == "better" for who, word in found) >= 18
