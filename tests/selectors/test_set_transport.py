"""Sets by optimal transport: small cases against all sets."""

from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from curate.selectors.set_transport import cover, exchanged, transport


def test_transport_of_equal_numbers_is_an_assignment():
    costs = np.random.default_rng(0).random((7, 7))
    found = transport(costs)
    i, j = linear_sum_assignment(costs)
    assert found.cost == pytest.approx(costs[i, j].mean())
    assert (found.rows[:, None] + found.columns <= costs + 1e-9).all()  # the potentials are feasible,
    assert found.rows.mean() + found.columns.mean() == pytest.approx(found.cost)  # and tight


def test_a_bonus_for_rows_adds_up_apart_from_the_transport():
    rng = np.random.default_rng(1)
    costs, bonus = rng.random((4, 6)), rng.random(4)
    assert transport(costs - 0.3 * bonus[:, None]).cost == pytest.approx(transport(costs).cost - 0.3 * bonus.mean())


def test_cover_by_hand():
    costs = np.array([[0.0, 9, 9], [9, 0, 9], [9, 9, 0], [4, 4, 4], [0, 9, 9]])
    # Row 3 has the least sum; rows 0, 1, 2 then each lower it; at the end row 3 is nearest to no column and is put back.
    assert cover(costs, 5).tolist() == [0, 1, 2, 3, 4]
    assert sorted(cover(costs, 9).tolist()) == [0, 1, 2, 3, 4]
    assert cover(costs, 1).tolist() == [3] and cover(costs, 0).tolist() == []


def test_exchanges_never_cost_and_reach_what_all_sets_reach():
    rng = np.random.default_rng(2)
    rows, target = rng.normal(size=(6, 2)), rng.normal(size=(4, 2))
    costs = np.linalg.norm(rows[:, None] - target, axis=2)
    worst = max(combinations(range(6), 2), key=lambda some: transport(costs[list(some)]).cost)
    best = min(transport(costs[list(some)]).cost for some in combinations(range(6), 2))
    found, history = exchanged(costs, np.array(worst), 50)
    assert (np.diff(history) < 0).all() and len(set(found.tolist())) == 2
    assert history[-1] == pytest.approx(transport(costs[found]).cost)
    assert best - 1e-9 <= history[-1] < 0.5 * history[0] + 0.5 * best
