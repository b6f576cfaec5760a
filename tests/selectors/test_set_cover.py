"""Passes that cover tags, by hand and by their laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.budget import Limit
from curate.selectors.set_cover import set_cover


def rows(n, k):
    return Limit(np.ones(n), k)


def test_two_passes_by_hand():
    tags = [{"a"}, {"a", "b"}, {"b", "c"}, set(), {"a", "b", "c"}, {"c"}]
    found = set_cover(tags, rows(6, 6))
    # Row 4 covers all in pass 1. Pass 2: row 1 (a, b), row 2 adds c; pass 3: row 0 (a), row 5 (c).
    assert found.index.tolist() == [4, 1, 2, 0, 5] and found.gain.tolist() == [3, 2, 1, 1, 1]
    assert found.stratum == ["pass 1", "pass 2", "pass 2", "pass 3", "pass 3"]
    assert found.reason[2] == "adds c to pass 2" and found.nulls == 1
    assert found.shortfall == "The budget allows 6 rows, but only 5 of 6 rows could be used."


def test_at_least_one_new_tag_is_enough():
    """Not: all of them new, which another reading of the rule asks for."""
    assert set_cover([{"a", "b"}, {"b", "c"}], rows(2, 2)).stratum == ["pass 1", "pass 1"]


def test_rows_that_are_all_alike_go_one_to_a_pass():
    found = set_cover([["x", "y"]] * 5, rows(5, 4))
    assert found.index.tolist() == [0, 1, 2, 3] and found.stratum == [f"pass {i}" for i in (1, 2, 3, 4)]


@given(st.lists(st.sets(st.integers(0, 6)), min_size=1, max_size=20), st.integers(0, 20))
def test_what_holds_of_every_pass(tags, budget):
    n = len(tags)
    found, whole = set_cover(tags, rows(n, budget)), set_cover(tags, rows(n, n))
    assert found.index.tolist() == whole.index[: len(found)].tolist()
    assert sorted(whole.index.tolist()) == [i for i in range(n) if tags[i]]
    if len(whole):
        first = [i for i, name in zip(whole.index.tolist(), whole.stratum) if name == "pass 1"]
        assert set().union(*(tags[i] for i in first)) == set().union(*tags)  # pass 1 covers every tag there is
    for number in set(whole.stratum):
        covered: set[int] = set()
        for i, name, gain in zip(whole.index.tolist(), whole.stratum, whole.gain.tolist()):
            if name == number:
                assert gain == len(tags[i] - covered) > 0
                covered |= tags[i]


def test_tokens_and_sizes():
    assert set_cover([{1}, {2}, {3}], Limit(np.array([2.0, 2.0, 1.0]), 4, "tokens")).index.tolist() == [0, 1]
    with pytest.raises(ValueError, match="costs"):
        set_cover([{1}], rows(2, 1))
