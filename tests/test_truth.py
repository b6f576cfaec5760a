"""Planted truth judges methods and never reaches them."""

import dataclasses

import numpy as np
import polars as pl
import pytest

from curate.budget import Budget
from curate.engine import Engine
from curate.errors import InputError
from curate.method import Data, Method
from curate.pool import read_pool
from curate.registry import make_method
from curate.requests import HiddenStates, Observe, Rows
from curate.selection import select
from curate.selectors.top_k import top_k
from curate.signals import RowScore
from curate.store import Store
from curate.truth import defects, picks_table, score_table

CLEAN = None


def planted(*labels):
    return np.array(labels, dtype=object)


def test_defects_are_a_column_of_the_pool(small_pool):
    pool = read_pool(small_pool)
    found = defects(pool, "planted")
    assert found.shape == (24,) and sorted(x or "" for x in found) == [""] * 19 + ["wrong"] * 5
    with pytest.raises(InputError):
        defects(pool, "no_such_column")


def test_preferences_are_judged_by_the_pairs_they_order():
    truth = planted("wrong", "wrong", CLEAN, CLEAN, CLEAN, "empty")
    good = np.array([0.1, 0.2, 0.5, 0.6, 0.7, np.nan])
    table = score_table({"good": good, "bad": -good}, truth)
    found = {(m, d): (a, n) for m, d, a, _, _, n in table.rows()}
    assert found["good", "wrong"] == (1.0, 2) and found["bad", "wrong"] == (0.0, 2)
    assert np.isnan(found["good", "empty"][0]) and found["good", "empty"][1] == 1


def test_picks_are_judged_by_what_they_avoid_and_reach():
    truth = planted(*["wrong"] * 50, *[CLEAN] * 50)
    groups = ["rare", *["common"] * 99]
    avoided, all_wrong = np.arange(50, 90), np.arange(0, 40)
    table = picks_table({"good": [avoided], "bad": [all_wrong], "both": [avoided, all_wrong]}, truth, groups)
    found = {m: (e, covered, rare) for m, _, e, _, _, covered, rare in table.rows()}
    assert found == {"good": (0.0, 0.0, 1), "bad": (2.0, 1.0, 1), "both": (1.0, 0.5, 1)}
    low, high = table.filter(pl.col("method") == "good").select("low", "high").row(0)
    assert low == 0 < high < 0.5


def test_equal_picks_of_several_seeds_count_once():
    """A method that draws nothing picks the same rows for every seed: that is no further evidence."""
    truth = planted(*["wrong"] * 5, *[CLEAN] * 5)
    picks = np.array([0, 5, 6])
    once = picks_table({"m": [picks]}, truth, ["g"] * 10)
    assert picks_table({"m": [picks] * 4}, truth, ["g"] * 10).equals(once)
    other = picks_table({"m": [picks, np.array([1, 7, 8])]}, truth, ["g"] * 10)
    assert other["high"][0] - other["low"][0] < once["high"][0] - once["low"][0]


@pytest.mark.parametrize(
    ("name", "order"),
    [("longest", [4, 3, 2, 1, 0]), ("perplexity:window=low", [0, 1, 2, 3, 4]), ("perplexity:window=high", [4, 3, 2, 1, 0])],
)
def test_a_method_prefers_what_it_picks_first(name, order):
    method = make_method(name)
    scores = RowScore.of(np.array([1.0, 2.0, 4.0, 8.0, 16.0]))
    assert np.argsort(-method.preference(scores), kind="stable").tolist() == order
    table = pl.DataFrame({"source": [None] * 5})
    assert method.choose(scores, table, Budget.parse("100%").limit(np.ones(5)), np.random.default_rng(0)).index.tolist() == order


def test_mid_perplexity_prefers_the_median_and_leaves_nulls_null():
    near = make_method("perplexity").preference(RowScore.of(np.array([1.0, 2.0, 4.0, np.nan])))
    assert near[:3].tolist() == [-0.5, 0.0, -0.5] and np.isnan(near[3])


def test_a_method_that_keeps_low_scores():
    class Shortest(Method):
        larger_is_better = False

    assert Shortest().preference(RowScore.of(np.array([1.0, 2.0]))).tolist() == [-1.0, -2.0]


SECRET = "secret-label"


class Spy(Method):
    """Writes down everything that a method is given."""

    name = "spy"
    paper = "none"
    cost = "forward"

    def requests(self, data, seen):
        GIVEN["requests"] = data, seen
        return [Observe(data.model, data.pool, "mean_loss"), Observe(data.model, data.pool, "tokens")]

    def signal(self, data, seen, rng):
        GIVEN["signal"] = data, seen
        return seen[self.requests(data, seen)[0]]

    def choose(self, signal, table, limit, rng):
        GIVEN["choose"] = signal, table, limit
        return top_k(signal.values, limit)


GIVEN = {}


def test_a_method_is_given_nothing_that_tells(make_pool, tiny, tmp_path):
    def path(labels, name):
        return make_pool(range(12), name, planted=labels, group=labels)

    engine = Engine(store=Store(tmp_path / "store"))
    told = path(lambda i: SECRET if i % 2 else None, "told.jsonl")
    first = select(told, Spy(), budget=5, model=tiny, engine=engine, target=make_pool(range(12, 15), "target.jsonl"))
    assert SECRET in read_pool(told).column("planted").to_pylist()

    data, seen = GIVEN["signal"]
    assert type(data) is Data
    assert {f.name for f in dataclasses.fields(Data)} == {"pool", "model", "target", "existing", "embedder", "recipe", "seed"}
    assert data.embedder == HiddenStates(data.model)
    for rows in (data.pool, data.target):
        assert type(rows) is Rows and {f.name for f in dataclasses.fields(Rows)} == {"role", "fingerprint", "size"}
    assert {type(seen[request]) for request in seen} == {RowScore}
    signal, table, limit = GIVEN["choose"]
    assert type(signal) is RowScore and limit.costs.tolist() == [1] * 12
    assert table.columns == ["row_id", "source", "tokens", "response_tokens"]
    assert SECRET not in repr((GIVEN, table.to_dicts(), limit))

    for labels in (lambda i: "other" if i % 3 else None, lambda i: SECRET):
        again = select(path(labels, "again.jsonl"), Spy(), budget=5, model=tiny, engine=engine)
        assert again.frame.equals(first.frame)
