"""Groups in turn, against the rule written out; and the window below a quantile."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.budget import Limit
from curate.selectors.in_turn import in_turn
from curate.selectors.window import below

NAN = float("nan")


def written_out(groups, order, limit, turns, rounds):
    """Round after round each group in turn gives its best row that is left; what does not fit ends it all."""
    left = {group: [i for i in order if groups[i] == group] for group in turns}
    taken, spent = [], 0.0
    for _ in range(rounds if rounds is not None else len(order)):
        for group in turns:
            if not left[group] or not limit.capacity:
                continue
            row = left[group].pop(0)
            spent += limit.costs[row]
            if spent > limit.capacity:
                return taken
            taken.append(row)
    return taken


def test_every_group_gives_its_best_before_any_gives_a_second():
    groups = ["a", "a", "b", "c", "a", "b"]
    limit = Limit(np.ones(6), 6)
    picks = in_turn(groups, [4, 1, 5, 3, 2, 0], limit)
    assert picks.index.tolist() == [4, 5, 3, 1, 2, 0]
    assert picks.stratum == ["a", "b", "c", "a", "b", "a"]
    assert picks.reason[0] == "1 of 3 from group a" and picks.reason[-1] == "3 of 3 from group a"
    assert in_turn(groups, [4, 1, 5, 3, 2, 0], limit, turns=["c", "b", "a"]).index.tolist() == [3, 5, 4, 2, 1, 0]


def test_so_many_rounds_and_no_more():
    picks = in_turn(["a", "a", "b", "b"], [0, 1, 2], Limit(np.ones(4), 4), rounds=1)
    assert picks.index.tolist() == [0, 2] and picks.nulls == 1
    assert picks.shortfall == "The budget allows 4 rows, but only 2 of 4 rows could be used."


rows = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 9)), max_size=20)


@given(rows, st.integers(0, 60), st.randoms(use_true_random=False), st.none() | st.integers(1, 3))
def test_it_is_the_rule_written_out(pairs, capacity, random, rounds):
    groups = [group for group, _ in pairs]
    limit = Limit(np.array([cost for _, cost in pairs], dtype=float), capacity)
    order = random.sample(range(len(pairs)), random.randint(0, len(pairs)))
    turns = random.sample("abcd", 4)
    picks = in_turn(groups, order, limit, turns=turns, rounds=rounds)
    assert picks.index.tolist() == written_out(groups, order, limit, turns, rounds)
    larger = in_turn(groups, order, Limit(limit.costs, capacity + 9), turns=turns, rounds=rounds)
    assert larger.index[: len(picks)].tolist() == picks.index.tolist()


def test_in_turn_refuses_what_makes_no_sense():
    limit = Limit(np.ones(2), 2)
    with pytest.raises(ValueError, match="3 groups for 2 costs"):
        in_turn(["a", "b", "c"], [0], limit)
    with pytest.raises(ValueError, match="each at most once"):
        in_turn(["a", "b"], [0, 0], limit)
    with pytest.raises(ValueError, match="no turn for group b"):
        in_turn(["a", "b"], [0, 1], limit, turns=["a"])


# below a quantile


def test_the_highest_below_a_quantile_first_and_the_extreme_last():
    values = [0.1, 0.9, NAN, 0.5, 0.7, 0.3, 1.0, 0.2, 0.4, 0.6, 0.8]
    picks = below(values, Limit(np.ones(11), 11), top=0.8)
    assert [values[i] for i in picks.index] == [0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.9, 1.0]
    assert picks.nulls == 1 and picks.reason[0] == "score at quantile 0.7778, wanted below 0.8"
    assert [values[i] for i in below(values, Limit(np.ones(11), 3), top=1.0).index] == [1.0, 0.9, 0.8]


@given(st.lists(st.sampled_from([0.0, 1.0, -1.0, 2.5, NAN, 7.0]), max_size=25), st.integers(0, 25), st.floats(0, 1))
def test_below_is_the_rule_written_out(values, capacity, top):
    there = [i for i, v in enumerate(values) if v == v]
    rank = {i: (sum(values[j] < values[i] for j in there) + sum(values[j] <= values[i] for j in there) - 1) / 2 for i in there}
    extreme = {i: rank[i] > top * (len(there) - 1) + 1e-6 for i in there}
    order = sorted(there, key=lambda i: (extreme[i], rank[i] if extreme[i] else -rank[i], i))
    picks = below(values, Limit(np.ones(len(values)), capacity), top=top)
    assert picks.index.tolist() == order[:capacity]


def test_below_wants_a_quantile():
    with pytest.raises(ValueError, match="between 0 and 1"):
        below([1.0], Limit(np.ones(1), 1), top=1.5)
