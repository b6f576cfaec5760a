import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curate.budget import Budget, Limit
from curate.errors import InputError


@pytest.mark.parametrize(
    ("text", "amount", "unit", "canonical"),
    [
        ("1000", 1000, "rows", "1000"),
        ("1_000", 1000, "rows", "1000"),
        (" 1000 rows ", 1000, "rows", "1000"),
        ("1.5k", 1500, "rows", "1500"),
        ("1", 1, "rows", "1"),
        (1000, 1000, "rows", "1000"),
        (np.int64(7), 7, "rows", "7"),
        (0, 0, "rows", "0"),
        ("10%", 0.1, "fraction", "10%"),
        ("2.5 %", 0.025, "fraction", "2.5%"),
        ("0.1", 0.1, "fraction", "10%"),
        ("1.0", 1.0, "fraction", "100%"),
        (0.1, 0.1, "fraction", "10%"),
        (1.0, 1.0, "fraction", "100%"),
        (0.07, 0.07, "fraction", "7%"),
        ("150%", 1.5, "fraction", "150%"),
        ("2M tokens", 2_000_000, "tokens", "2M tokens"),
        ("2mtokens", 2_000_000, "tokens", "2M tokens"),
        ("500k tokens", 500_000, "tokens", "500k tokens"),
        ("1.2B tokens", 1_200_000_000, "tokens", "1200M tokens"),
        ("1234 tokens", 1234, "tokens", "1234 tokens"),
        ("0 tokens", 0, "tokens", "0 tokens"),
    ],
)
def test_reads_what_a_person_writes(text, amount, unit, canonical):
    budget = Budget.parse(text)
    assert (budget.amount, budget.unit) == (amount, unit)
    assert str(budget) == canonical
    assert Budget.parse(canonical) == budget
    assert Budget.parse(budget) is budget


@pytest.mark.parametrize(
    "text",
    ["abc", "", "nan", "inf", "-5", "-10%", "1,000", "1.5", "1.2345k", "10% tokens", "1e3", "5 apples", "k", "%"]  # noqa: RUF005
    + [-1, -0.1, 1.5, math.nan, math.inf, True, None, [10], 10**400, "9" * 400],
)
def test_refuses_with_one_sentence_that_names_the_text(text):
    with pytest.raises(InputError) as caught:
        Budget.parse(text)
    assert str(text) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [0, "0", "0%", 0.0, "0 tokens", "100.1%", "150%", Budget(0, "rows", "0")])
def test_the_command_line_also_refuses_nothing_and_more_than_all(text):
    Budget.parse(text)
    with pytest.raises(InputError):
        Budget.parse(text, strict=True)
    assert Budget.parse("100%", strict=True).amount == 1


@pytest.mark.parametrize(("amount", "unit"), [(-1, "rows"), (math.nan, "rows"), (0.5, "rows"), (1, "apples")])
def test_a_budget_made_by_hand_is_checked_too(amount, unit):
    with pytest.raises(InputError):
        Budget(amount, unit, "by hand")


def test_budgets_that_mean_the_same_are_equal():
    assert Budget.parse("10%") == Budget.parse(0.1) == Budget.parse("0.1")
    assert Budget.parse("1k") == Budget.parse(1000) != Budget.parse("1k tokens")


def test_fractions_round_down_but_not_because_of_float_noise():
    for percent in range(101):
        for n in (1, 3, 7, 30, 99, 100, 1000, 12345):
            limit = Budget.parse(f"{percent}%").limit(np.zeros(n))
            assert limit.capacity == percent * n // 100, (percent, n)
    assert Budget.parse(0.1).limit(np.zeros(30)).capacity == 3
    assert Budget.parse(1 / 3).limit(np.zeros(3)).capacity == 1


def test_rows_cost_one_and_tokens_cost_tokens():
    tokens = np.array([5, 7, 0])
    rows, fraction, counted = (Budget.parse(b).limit(tokens) for b in (2, "50%", "9 tokens"))
    assert rows.costs.tolist() == fraction.costs.tolist() == [1, 1, 1]
    assert (rows.capacity, fraction.capacity, counted.capacity) == (2, 1, 9)
    assert counted.costs.tolist() == [5, 7, 0] and counted.costs.dtype == np.float64
    assert (rows.unit, counted.unit) == ("rows", "tokens")
    assert Budget.parse("10%").limit([]).capacity == 0


@pytest.mark.parametrize("costs", [[-1.0], [math.nan], [math.inf], [[1.0]]])
def test_costs_must_make_sense(costs):
    with pytest.raises(ValueError):
        Limit(np.array(costs), 1)
    with pytest.raises(ValueError):
        Limit(np.ones(1), -1)


NUMBERS = st.from_regex(r"[0-9]{1,30}(_[0-9]{1,3})?(\.[0-9]{1,20})?", fullmatch=True)
SUFFIXES = st.sampled_from(["", "%", "k", "M", "b", " rows", "k tokens", " tokens", "tokens", " examples", "%%", " apples", "e5"])
WRITTEN = st.text(max_size=12) | st.builds(str.__add__, NUMBERS, SUFFIXES) | st.builds(str, st.floats() | st.integers())


@given(WRITTEN | st.floats() | st.integers(-5, 10**400))
@example("1" * 400)
@example("0." + "0" * 400 + "1")
@example("1e5")
@example("\u0663")
@example("\n1000\r\n")
def test_any_budget_is_read_or_refused_in_one_line(given_):
    try:
        budget = Budget.parse(given_)
    except InputError as error:
        assert len(str(error).splitlines()) == 1 and "budget" in str(error)
        return
    assert 0 <= budget.amount < math.inf and budget.unit in ("rows", "fraction", "tokens")
    assert Budget.parse(str(budget)) == budget and str(Budget.parse(str(budget))) == str(budget)
    limit = budget.limit(np.ones(10))
    assert limit.capacity >= 0
