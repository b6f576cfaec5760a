"""How much the picks of several seeds agree, against sums over all selections."""

from itertools import combinations
from math import isnan

import numpy as np
import pytest

from curate.stability import jaccard_by_chance, mean_jaccard


def test_overlap_by_hand():
    """{0,1,2} and {1,2,3}: 2 of 4. With {7,8,9} as a third, two of the three pairs have nothing in common."""
    assert mean_jaccard([[0, 1, 2], [3, 2, 1]]) == 0.5
    assert mean_jaccard([[0, 1, 2], [1, 2, 3], [7, 8, 9]]) == pytest.approx(0.5 / 3)
    assert mean_jaccard([[4, 5], [5, 4], [4, 5]]) == 1.0
    assert mean_jaccard([[0], [0, 1, 2, 3]]) == 0.25  # of the union, not of the smaller one
    assert isnan(mean_jaccard([[1, 2]])) and isnan(mean_jaccard([])) and isnan(mean_jaccard([[], []]))


@pytest.mark.parametrize(("n", "sizes"), [(6, (1, 1)), (6, (3, 3)), (7, (2, 5)), (6, (6, 6)), (5, (0, 2)), (6, (2, 3, 4))])
def test_chance_is_the_mean_over_all_selections(n, sizes):
    def of(a, b):
        found = [mean_jaccard([one, other]) for one in combinations(range(n), a) for other in combinations(range(n), b)]
        return np.mean(found)

    assert jaccard_by_chance(sizes, n) == pytest.approx(np.mean([of(a, b) for a, b in combinations(sizes, 2)]))


def test_chance_of_many_rows():
    """The rule of thumb for many rows, and far from it for few."""
    assert jaccard_by_chance([1000, 1000, 1000], 10_000) == pytest.approx(1000 / 19_000, rel=1e-3)
    assert jaccard_by_chance([100_000] * 2, 1_000_000) == pytest.approx(1 / 19, rel=1e-4)
    assert jaccard_by_chance([1, 1], 6) == pytest.approx(1 / 6)  # and not 1 / 11
    assert isnan(jaccard_by_chance([5], 10)) and isnan(jaccard_by_chance([0, 0], 10))
