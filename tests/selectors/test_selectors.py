from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.budget import Budget, Limit
from curate.selectors.picks import Picks
from curate.selectors.quota import quota
from curate.selectors.random import shuffle
from curate.selectors.top_k import top_k
from curate.selectors.window import window

NAN = float("nan")


def rows(n: int, k: float) -> Limit:
    return Limit(np.ones(n), k)


def spend(order: list[int], limit: Limit) -> list[int]:
    """The prefix rule written out."""
    taken: list[int] = []
    left = limit.capacity
    for row in order if limit.capacity else []:
        if limit.costs[row] > left:
            break
        left -= limit.costs[row]
        taken.append(row)
    return taken


values_and_costs = st.lists(st.tuples(st.sampled_from([0.0, 1.0, -1.0, 2.5, float("inf"), NAN]), st.integers(0, 9)), max_size=25)


def test_picks_must_agree_in_length():
    with pytest.raises(ValueError):
        Picks(np.array([1]), np.array([1.0, 2.0]), [None], [""], 0, None)
    assert len(Picks(np.array([1]), np.array([1.0]), [None], [""], 0, None)) == 1


# top-k


def test_top_k_takes_the_best_and_breaks_ties_by_index():
    picks = top_k([1, 3, NAN, 3, 2], rows(5, 3))
    assert picks.index.tolist() == [1, 3, 4]
    assert picks.gain.tolist() == [3, 3, 2]
    assert picks.reason[2] == "rank 3 by score, highest first"
    assert (picks.stratum, picks.nulls, picks.shortfall) == ([None] * 3, 1, None)
    assert picks.index.dtype == np.int64 and picks.gain.dtype == np.float64
    assert top_k([1, 3, NAN, 3, 1], rows(5, 3), largest=False).index.tolist() == [0, 4, 1]


def test_a_shortfall_is_stated_and_nothing_is_padded():
    picks = top_k([1, NAN, 2], rows(3, 3))
    assert picks.index.tolist() == [2, 0]
    assert picks.shortfall == "The budget allows 3 rows, but only 2 of 3 rows could be used."
    counted = top_k([1, NAN, 2], Limit(np.array([10.0, 20, 30]), 2000, "tokens"))
    assert counted.shortfall == ("The budget allows 2,000 tokens, but only 2 of 3 rows could be used, and they hold 40.")
    assert top_k([NAN, NAN], rows(2, 1)).shortfall is not None


def test_a_first_row_larger_than_the_budget_is_not_silence():
    picks = top_k([1, 2], Limit(np.array([5.0, 900]), 500, "tokens"))
    assert len(picks) == 0
    assert picks.shortfall == "The first row needs 900 tokens, more than the budget of 500."


@given(values_and_costs, st.integers(0, 60), st.booleans())
def test_top_k_equals_the_rule_written_out(pairs, capacity, largest):
    values, costs = [p[0] for p in pairs], np.array([p[1] for p in pairs], dtype=float)
    order = [i for i, v in enumerate(values) if v == v]
    order.sort(key=lambda i: (-values[i] if largest else values[i], i))
    picks = top_k(values, Limit(costs, capacity), largest=largest)
    assert picks.index.tolist() == spend(order, Limit(costs, capacity))
    assert picks.nulls == len(values) - len(order)
    larger = top_k(values, Limit(costs, capacity + 7), largest=largest)
    assert larger.index[: len(picks)].tolist() == picks.index.tolist()


# window


def test_window_keeps_the_middle():
    values = [10, 0, 20, 40, 30, NAN]
    assert window(values, rows(6, 5)).index.tolist() == [2, 0, 4, 1, 3]
    assert window(values, rows(6, 1), center=0.25).index.tolist() == [0]
    assert window(values, rows(6, 2)).reason == [
        "score at quantile 0.5, wanted near 0.5",
        "score at quantile 0.25, wanted near 0.5",
    ]
    assert window([1.0], rows(1, 1)).index.tolist() == [0]


def test_window_is_by_rank_not_by_value():
    assert window([0, 1, 2, 1e9, 1e12], rows(5, 1)).index.tolist() == [2]


@given(values_and_costs, st.integers(0, 60), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_window_equals_the_rule_written_out(pairs, capacity, center):
    values, costs = [p[0] for p in pairs], np.array([p[1] for p in pairs], dtype=float)
    there = [i for i, v in enumerate(values) if v == v]
    middle = center * (len(there) - 1)

    def distance(i: int) -> float:
        below = sum(values[j] < values[i] for j in there)
        equal = sum(values[j] == values[i] for j in there)
        return round(abs(below + (equal - 1) / 2 - middle), 6)

    order = sorted(there, key=lambda i: (distance(i), i))
    picks = window(values, Limit(costs, capacity), center=center)
    assert picks.index.tolist() == spend(order, Limit(costs, capacity))
    if center in (0, 1):
        best = top_k(values, Limit(costs, capacity), largest=center == 1)
        assert picks.index.tolist() == best.index.tolist()


@pytest.mark.parametrize("center", [-0.1, 1.1, NAN])
def test_window_refuses_a_center_that_is_no_quantile(center):
    with pytest.raises(ValueError):
        window([1.0], rows(1, 1), center=center)


# quota


def slow_quota(sizes: list[int], budget: int) -> list[int]:
    """Smallest first with redistribution, one step at a time."""
    given_out = [0] * len(sizes)
    waiting = list(range(len(sizes)))
    left = budget
    while waiting:
        smallest = min(waiting, key=lambda g: (sizes[g], g))
        given_out[smallest] = min(sizes[smallest], left // len(waiting))
        left -= given_out[smallest]
        waiting.remove(smallest)
    return given_out


def labels(sizes: list[int]) -> list[str]:
    return [f"g{g:02}" for g, size in enumerate(sizes) for _ in range(size)]


def counts(picks: Picks, groups: int) -> list[int]:
    return [picks.stratum.count(f"g{g:02}") for g in range(groups)]


@pytest.mark.parametrize(
    ("sizes", "budget", "expected"),
    [([3, 10, 100], 60, [3, 10, 47]), ([5, 5, 5], 7, [2, 2, 3]), ([4, 4, 100], 3, [1, 1, 1])],
)
def test_the_quota_table_of_s2l(sizes, budget, expected):
    assert counts(quota(labels(sizes), None, rows(sum(sizes), budget)), 3) == expected


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.integers(0, 80))
def test_equal_quota_equals_the_slow_rule_and_nests(sizes, budget):
    n = sum(sizes)
    picks = quota(labels(sizes), None, rows(n, budget))
    expected = slow_quota(sizes, min(budget, n))
    assert counts(picks, len(sizes)) == expected
    assert len(picks) == min(budget, n)
    assert (picks.shortfall is not None) == (budget > n)
    more = quota(labels(sizes), None, rows(n, budget + 1))
    assert set(picks.index.tolist()) <= set(more.index.tolist())


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.integers(0, 80))
def test_proportional_quota_is_the_floor_and_the_rest_by_largest_remainder(sizes, budget):
    n, groups = sum(sizes), range(len(sizes))
    budget = min(budget, n)
    expected = [budget * sizes[g] // n for g in groups]
    rest = sorted(groups, key=lambda g: (-Fraction(budget * sizes[g] % n, n), -sizes[g]))
    for g in rest[: budget - sum(expected)]:
        expected[g] += 1
    assert counts(quota(labels(sizes), None, rows(n, budget), rule="proportional"), len(sizes)) == expected


def test_the_budgets_of_kmq():
    """Sizes 10, 50, 340 and 40 picks: proportional 1, 5, 34; equal 10 of the smallest, which has no more, and the rest."""
    strata = labels([10, 50, 340])
    assert counts(quota(strata, None, rows(400, 40), rule="proportional"), 3) == [1, 5, 34]
    assert counts(quota(strata, None, rows(400, 40)), 3) == [10, 15, 15]


def test_proportional_differs_from_equal():
    picks = quota(labels([3, 10, 100]), None, rows(113, 60), rule="proportional")
    assert counts(picks, 3) == [2, 5, 53]


@pytest.mark.parametrize(
    "weights, budget, expected",
    [
        ([1, 1, 2], 8, [2, 2, 4]),
        ([0, 1, 1], 8, [0, 4, 4]),
        ([5, 1, 1], 14, [4, 5, 5]),  # the first has only four rows: the others share the rest
        ([1, 0, 0], 6, [4, 1, 1]),  # and where only weight 0 is left, it is taken in turns
        ([0, 0, 0], 6, [2, 2, 2]),
        ([1, 2, 4], 5, [1, 1, 3]),  # 0.71, 1.43, 2.86
        ([1, 1, 1], 100, [4, 6, 8]),
    ],
)
def test_quota_by_weights(weights, budget, expected):
    names = ["a", "b", "c"]
    strata = [name for name, size in zip(names, (4, 6, 8), strict=True) for _ in range(size)]
    picks = quota(strata, None, rows(18, budget), rule=dict(zip(names, weights, strict=True)))
    assert [picks.stratum.count(name) for name in names] == expected


@pytest.mark.parametrize("weight", [-1.0, NAN, float("inf")])
def test_quota_refuses_weights_that_are_none(weight):
    with pytest.raises(ValueError, match="finite numbers, none below 0"):
        quota(["a", "b"], None, rows(2, 1), rule={"a": 1.0, "b": weight})


@pytest.mark.parametrize(
    "sizes, budget, expected",
    [([1, 2, 50], 20, [0, 0, 20]), ([3, 10, 100], 60, [3, 10, 47]), ([1, 2, 50], 50, [0, 0, 50]), ([1, 2, 50], 53, [1, 2, 50])],
)
def test_tiny_groups_come_last(sizes, budget, expected):
    assert counts(quota(labels(sizes), None, rows(sum(sizes), budget), tiny=2), 3) == expected


def test_what_is_left_for_tiny_groups_goes_by_preference():
    """Sizes 1, 2, 50 and 52 picks: two of the three rows of the tiny groups, the first in the order."""
    order = np.random.default_rng(0).permutation(53)
    picks = quota(labels([1, 2, 50]), order, rows(53, 52), tiny=2)
    assert len(picks) == 52 and picks.shortfall is None
    assert set(range(53)) - set(picks.index.tolist()) == {[i for i in order if i < 3][-1]}
    assert counts(quota(labels([2, 2, 2]), None, rows(6, 4), tiny=2), 3) == [2, 2, 0]
    assert len(quota(labels([2, 2, 2]), None, rows(6, 0), tiny=2)) == 0


def test_quota_follows_the_preference_and_says_why():
    strata = ["a", "b", "a", None, "b", "a"]
    picks = quota(strata, np.array([5, 4, 3, 2, 0]), rows(6, 3), name="source")
    assert picks.index.tolist() == [5, 4, 3]
    assert picks.stratum == ["a", "b", None]
    assert picks.reason == ["1 of 3 from source a", "1 of 1 from source b", "1 of 1 without a source"]
    assert picks.nulls == 1 and np.isnan(picks.gain).all()
    everything = quota(strata, np.array([5, 4, 3, 2, 0]), rows(6, 6))
    assert everything.index.tolist() == [5, 4, 3, 2, 0]
    assert everything.shortfall == "The budget allows 6 rows, but only 5 of 6 rows could be used."


def test_quota_of_tokens():
    strata = ["short"] * 4 + ["long"] * 3
    limit = Limit(np.array([10, 10, 10, 10, 100, 100, 100], dtype=float), 200, "tokens")
    # short is worth 40 and takes all of it; long may take 160, so one row; 60 are left and fit nobody
    assert quota(strata, None, limit).index.tolist() == [0, 1, 2, 3, 4]
    # proportional: short 200 * 40 / 340 = 23.5, two rows; long 176.5, one row; then 80 left: long no, short twice
    assert quota(strata, None, limit, rule="proportional").index.tolist() == [0, 1, 2, 3, 4]
    tight = Limit(limit.costs, 130, "tokens")
    # equal: short 40 of 65; long 90, no row; left 90: nothing fits
    assert quota(strata, None, tight).stratum == ["short"] * 4


@given(values_and_costs, st.integers(0, 60), st.sampled_from(["equal", "proportional"]), st.randoms())
def test_quota_never_exceeds_never_repeats_and_keeps_preference_within_groups(pairs, capacity, rule, random):
    costs = np.array([p[1] for p in pairs], dtype=float)
    strata = [None if p[0] != p[0] else str(p[0]) for p in pairs]
    order = list(range(len(pairs)))
    random.shuffle(order)
    order = order[: random.randint(0, len(order))]
    picks = quota(strata, np.array(order, dtype=int), Limit(costs, capacity), rule=rule)
    index = picks.index.tolist()
    assert len(set(index)) == len(index) and costs[index].sum() <= capacity
    for label in set(strata):
        mine = [i for i in order if strata[i] == label]
        taken = [i for i in index if strata[i] == label]
        assert taken == mine[: len(taken)]
        left = capacity - costs[index].sum()
        assert capacity == 0 or len(taken) == len(mine) or costs[mine[len(taken)]] > left


@pytest.mark.parametrize("order", [[0, 0], [2], [-1], [0.5], [[0]]])
def test_quota_refuses_an_order_that_is_none(order):
    with pytest.raises(ValueError):
        quota(["a", "b"], np.array(order), rows(2, 1))


def test_quota_refuses_an_unknown_rule():
    with pytest.raises(ValueError):
        quota(["a"], None, rows(1, 1), rule="fair")  # type: ignore[arg-type]


# shuffle


def test_shuffle_is_uniform_nested_and_repeatable():
    seen = np.zeros(5)
    rng = np.random.default_rng(0)
    for _ in range(5000):
        seen[shuffle(5, rows(5, 2), rng).index] += 1
    assert np.abs(seen / 5000 - 0.4).max() < 0.03
    small, large = (shuffle(50, rows(50, k), np.random.default_rng(3)) for k in (10, 30))
    assert small.index.tolist() == large.index[:10].tolist()
    assert len(set(large.index.tolist())) == 30 and np.isnan(large.gain).all()
    assert set(small.reason) == {"drawn at random"}


# all


SELECTORS = {
    "top_k": lambda n, limit: top_k(np.zeros(n), limit),
    "window": lambda n, limit: window(np.zeros(n), limit),
    "equal": lambda n, limit: quota(["a", "b"] * (n // 2), None, limit),
    "proportional": lambda n, limit: quota(["a", "b"] * (n // 2), None, limit, rule="proportional"),
    "shuffle": lambda n, limit: shuffle(n, limit, np.random.default_rng(0)),
}


@pytest.mark.parametrize("select", SELECTORS.values(), ids=SELECTORS)
def test_nothing_everything_and_an_empty_pool(select):
    free = Limit(np.array([0.0, 1]), 0)
    assert len(select(2, free)) == 0 and select(2, free).shortfall is None
    for capacity in (6, 7):
        picks = select(6, rows(6, capacity))
        assert sorted(picks.index.tolist()) == list(range(6))
        assert (picks.shortfall is not None) == (capacity > 6)
    empty = select(0, Budget.parse("50%").limit([]))
    assert len(empty) == 0 and empty.shortfall is None
    with pytest.raises(ValueError):
        select(4, rows(6, 1))
