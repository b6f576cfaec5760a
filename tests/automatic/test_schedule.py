"""How a spend is laid out."""

import json
from dataclasses import asdict, replace

import pytest

from curate.automatic.schedule import (
    CONFIRMED,
    PLANNED,
    Prices,
    Rates,
    fit_confirmation,
    lay_out,
    shrunk,
    shrunk_confirmation,
    slower,
    smallest,
    spend_for,
)
from curate.automatic.spend import Spend
from curate.comparison.choosing import Cost
from curate.errors import InputError

FREE = (Cost(), Cost())
METHODS = ["a", "b", "c", "dear"]


def prices(amount=3600.0, budgets=3, full=10_000, least=1_000, **scoring):
    """A training takes 1 s and 1 ms a token, an evaluation 2 s; `dear` takes 100 s for each seed."""
    found = {**dict.fromkeys("abc", FREE), "dear": (Cost(100.0, 0.0), Cost(100.0, 0.0)), **scoring}
    together = tuple(Cost(sum(pair[i].seconds for pair in found.values()), 0.0) for i in (0, 1))
    rates = Rates(Cost(1.0, 0.0), Cost(0.001, 1e6), Cost(2.0, 1e9), Cost(2.0, 1e9), found, together)
    return Prices(Spend(amount, "seconds"), rates, budgets, full, least)


def test_the_cost_of_a_rung_and_of_a_confirmation():
    p = prices()
    # 6 arms and random at 3 budgets, 2 seeds, 1 + 4 + 2 s each; `dear` is scored for a second seed
    assert p.rung(6, 2, 4000, 1, METHODS).cost == pytest.approx(9 * 2 * 7 + 100)
    assert p.rung(6, 2, 4000, 2, METHODS).cost == pytest.approx(9 * 2 * 7)
    assert p.rung(1, 1, 4000, 1, ["a"]).cost == pytest.approx(2 * 7)  # random at one budget
    # winner, random and as long, 3 seeds; `dear` may win; the untrained model is evaluated once
    assert p.confirm(3, 4000, METHODS).cost == pytest.approx(9 * 7 + 3 * 100 + 2)


@pytest.mark.parametrize("amount", [450, 600, 900, 1500, 3600, 20_000, 1e6])
def test_a_schedule_fits_whatever_the_spend(amount):
    found = lay_out(prices(), METHODS, amount)
    assert found.cost <= amount and found.confirmation.seeds >= 3 and found.confirmation.tokens >= 1_000
    arms = len(found.methods) * 3
    assert found.rungs[0].arms == arms
    for before, rung in zip(found.rungs, found.rungs[1:]):
        assert rung.arms < before.arms and rung.seeds >= before.seeds and 1_000 <= rung.tokens <= 10_000
    assert set(found.methods) | set(found.refused) == set(METHODS) and not set(found.methods) & set(found.refused)


def test_a_larger_spend_buys_more_and_never_less():
    layouts = [lay_out(prices(), METHODS, amount) for amount in (500, 1000, 2000, 4000, 8000, 16000)]
    bought = [(len(s.methods), s.confirmation.seeds * s.confirmation.tokens) for s in layouts]
    assert bought == sorted(bought) and bought[0] < bought[-1]
    assert layouts[-1].confirmation.tokens == 10_000 and layouts[-1].rungs[-1].seeds > layouts[-1].rungs[0].seeds - 1
    assert layouts[-1].methods == tuple(METHODS) and len(layouts[-1].rungs) == 3


def test_what_the_confirmation_takes_is_set_aside_first():
    for amount in (1000.0, 3000.0, 9000.0):
        found = lay_out(prices(), ["a", "b", "c"], amount)
        assert found.confirmation.cost <= CONFIRMED * amount
        assert found.scoring + sum(rung.cost for rung in found.rungs) <= amount - found.confirmation.cost
    # where its least takes more than its share, it still comes first
    little = smallest(prices(budgets=2), ["a"])
    found = lay_out(prices(budgets=2), ["a"], little)
    assert (found.confirmation.seeds, found.confirmation.tokens) == (3, 1_000) and len(found.rungs) == 1


def test_one_arm_needs_no_halving():
    found = lay_out(prices(budgets=1), ["a"], 500.0)
    assert found.rungs == () and found.confirmation.cost > 0.5 * 500


def test_the_dearest_method_is_refused_where_it_does_not_fit():
    found = lay_out(prices(), METHODS, 300.0)
    assert found.methods == ("a", "b", "c") and found.refused["dear"].startswith("too dear: scoring takes about 2 min")
    found = lay_out(prices(), METHODS, smallest(prices(), METHODS) - 1)
    assert found.methods == ("a", "b", "c") and "beside the others" in found.refused["dear"]
    assert lay_out(prices(), METHODS, smallest(prices(), METHODS)).methods == tuple(METHODS)


def test_too_little_names_what_would_do():
    p = prices(amount=30.0)
    with pytest.raises(InputError, match="a spend of 30 s is too little for one arm and its confirmation; about ") as error:
        lay_out(p, ["a", "b"], PLANNED * 30)
    said = float(str(error.value).split("about ")[1].split(" s")[0])
    assert lay_out(p, ["a", "b"], PLANNED * said).methods
    assert said < 1.5 * smallest(p, ["a"])


def test_few_seeds_before_short_trainings_and_more_seeds_behind_long_ones():
    p = prices()
    assert fit_confirmation(p, ["a"], p.confirm(5, 10_000, ["a"]).cost).seeds == 5
    short = fit_confirmation(p, ["a"], p.confirm(5, 5_000, ["a"]).cost)
    assert (short.seeds, short.tokens) == (5, pytest.approx(5_000, abs=1))
    assert fit_confirmation(p, ["a"], p.confirm(3, 1_000, ["a"]).cost).seeds == 3
    assert fit_confirmation(p, ["a"], p.confirm(3, 1_000, ["a"]).cost - 1) is None
    assert fit_confirmation(p, ["a"], 1e9).seeds == 20


def test_a_slow_machine_shrinks_what_is_left():
    p = prices()
    rung = p.rung(6, 3, 8_000, 1, ["a", "b"])
    assert shrunk(p, rung, 6, 1, ["a", "b"], rung.cost) == rung
    twice = slower(p, 100.0, 200.0)
    assert twice.rung(6, 3, 8_000, 1, ["a", "b"]).cost == pytest.approx(2 * rung.cost)
    assert shrunk(twice, rung, 6, 1, ["a", "b"], rung.cost).seeds == 1
    assert shrunk(twice, rung, 6, 1, ["a", "b"], rung.cost / 2).tokens == 4_000
    assert shrunk(twice, rung, 6, 1, ["a", "b"], 10.0) is None
    last = p.confirm(5, 8_000, ["a"])
    assert shrunk_confirmation(twice, last, ["a"], 1.3 * last.cost).seeds == 3
    assert shrunk_confirmation(twice, last, ["a"], 0.9 * last.cost).tokens == 4_000
    assert shrunk_confirmation(twice, last, ["a"], 10.0) is None


def test_the_spend_that_has_more_seeds():
    p = prices(amount=600.0)
    now = lay_out(p, ["a", "b"], PLANNED * 600).confirmation.seeds
    amount = spend_for(p, ["a", "b"], now + 4)
    assert lay_out(p, ["a", "b"], PLANNED * amount).confirmation.seeds >= now + 4 > now
    assert lay_out(p, ["a", "b"], PLANNED * amount / 1.21).confirmation.seeds < now + 4
    assert spend_for(p, ["a", "b"], 21) is None


def test_rates_are_kept_as_they_are():
    rates = prices().rates
    assert Rates.from_dict(json.loads(json.dumps(rates.to_dict()))) == rates
    other = replace(prices(), spend=Spend(1e13, "FLOPs"))
    assert other.arm(1000) == 1e9 + 1e9  # operations, not seconds
    assert asdict(lay_out(other, METHODS, 1e13))["methods"] == tuple(METHODS)
