"""Queries in turns against the loop that sorts everything."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from curate.budget import Limit
from curate.selectors import round_robin as module
from curate.selectors.round_robin import round_robin

NAN = float("nan")


def rows(n, k):
    return Limit(np.ones(n), k)


def loop(values, limit):
    """[(row, column)]: each column in turn looks through all rows."""
    taken, spent = [], 0.0
    while True:
        before = len(taken)
        for column in range(values.shape[1]):
            left = [i for i in range(len(values)) if i not in [row for row, _ in taken] and not np.isnan(values[i, column])]
            if not left:
                continue
            row = min(left, key=lambda i: (-values[i, column], i))
            spent += limit.costs[row]
            if spent > limit.capacity:
                return taken
            taken.append((row, column))
        if len(taken) == before:
            return taken


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_it_is_the_loop(data):
    """Equal values, nulls, lists that run out and grow."""
    n, q = data.draw(st.integers(1, 14)), data.draw(st.integers(1, 4))
    values = data.draw(arrays(np.float64, (n, q), elements=st.sampled_from([0.0, 1.0, 2.0, 3.0, NAN])))
    costs = np.array(data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)), float)
    limit = Limit(costs, data.draw(st.integers(1, 30)), "tokens")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "FIRST", data.draw(st.integers(1, 3)))
        found = round_robin(values, limit)
    want = loop(values, limit)
    assert list(zip(found.index.tolist(), [int(name) - 1 for name in found.stratum])) == want
    assert found.gain.tolist() == [values[i, j] for i, j in want]
    assert found.nulls == int(np.isnan(values).all(axis=1).sum())


def test_a_budget_below_the_queries_serves_the_first_of_them():
    values = np.random.default_rng(0).normal(size=(30, 9))
    found = round_robin(values, rows(30, 4))
    assert found.stratum == ["1", "2", "3", "4"] and len(set(found.index.tolist())) == 4


def test_a_smaller_budget_is_a_prefix_and_all_are_all():
    values = np.random.default_rng(1).normal(size=(40, 3))
    whole = round_robin(values, rows(40, 40))
    assert sorted(whole.index.tolist()) == list(range(40)) and whole.shortfall is None
    assert round_robin(values, rows(40, 7)).index.tolist() == whole.index[:7].tolist()
    assert round_robin(values, rows(40, 41)).shortfall == "The budget allows 41 rows, but only 40 of 40 rows could be used."
    assert len(round_robin(values, rows(40, 0))) == 0


def test_the_same_query_twice_changes_turns_and_not_values():
    values = np.random.default_rng(2).normal(size=(12, 1))
    once, twice = round_robin(values, rows(12, 12)), round_robin(np.repeat(values, 2, axis=1), rows(12, 12))
    assert once.index.tolist() == twice.index.tolist() and twice.stratum[:4] == ["1", "2", "1", "2"]


def test_sizes_that_differ():
    with pytest.raises(ValueError, match="costs"):
        round_robin(np.zeros((3, 2)), rows(4, 1))
    with pytest.raises(ValueError, match="names"):
        round_robin(np.zeros((3, 2)), rows(3, 1), names=["a"])
