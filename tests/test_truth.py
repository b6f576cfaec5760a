"""Planted truth judges methods and never reaches them."""

import dataclasses

import numpy as np
import polars as pl
import pytest
from scipy.stats import beta

import curate
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
from curate.training.config import TrainConfig
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
    found = {m: of for m, *of in table.select("method", "enrichment", "rare_covered", "rare_groups").rows()}
    assert {m: tuple(of) for m, of in found.items()} == {"good": (0.0, 0.0, 1), "bad": (2.0, 1.0, 1), "both": (1.0, 0.5, 1)}
    low, high = table.filter(pl.col("method") == "good").select("low", "high").row(0)
    assert low == 0 < high < 0.5


def test_equal_picks_of_several_seeds_count_once():
    """A method that draws nothing picks the same rows for every seed: that is no further evidence."""
    truth = planted(*["wrong"] * 5, *[CLEAN] * 5)
    picks = np.array([0, 5, 6])
    once = picks_table({"m": [picks]}, truth, ["g"] * 10)
    assert picks_table({"m": [picks] * 4}, truth, ["g"] * 10).drop("seeds").equals(once.drop("seeds"))
    other = picks_table({"m": [picks, np.array([1, 7, 8])]}, truth, ["g"] * 10)
    assert other["high"][0] - other["low"][0] < once["high"][0] - once["low"][0]


def test_picks_that_two_seeds_share_are_one_piece_of_evidence():
    """9 of 10 rows in common: the interval is that of 11 rows, not of 20; nothing in common: of 20."""
    truth = planted(*["wrong"] * 50, *[CLEAN] * 50)
    one, other = np.r_[0:5, 50:55], np.r_[1:6, 50:55]
    near, far = (picks_table({"m": [one, b]}, truth, ["g"] * 100).to_dicts()[0] for b in (other, np.r_[10:15, 60:65]))
    assert near["enrichment"] == far["enrichment"] == 1.0
    for line, rows in ((near, 11), (far, 20)):
        # Clopper and Pearson's bounds are quantiles of beta distributions.
        want = beta.ppf([0.025, 0.975], [rows / 2, rows / 2 + 1], [rows / 2 + 1, rows / 2]) / 0.5
        assert [line["low"], line["high"]] == pytest.approx(want)


def test_agreement_over_seeds_is_beside_that_of_random_picks():
    truth = planted("wrong", *[CLEAN] * 5)
    table = picks_table({"drawn": [[0, 1], [1, 2], [0, 1]], "same": [[0, 1]] * 3, "once": [[0, 1]]}, truth, ["g"] * 6)
    found = {line["method"]: line for line in table.to_dicts()}
    drawn = found["drawn"]
    assert (drawn["seeds"], drawn["selections"], drawn["rows"]) == (3, 2, 2.0)
    assert drawn["agree"] == pytest.approx((1 / 3 + 1 + 1 / 3) / 3)
    # Of 15 pairs of six rows one is the same, 8 share one row of three, 6 share none.
    assert drawn["agree_random"] == pytest.approx((1 + 8 / 3) / 15)
    for name, seeds in (("same", 3), ("once", 1)):
        assert [found[name][key] for key in ("agree", "agree_random", "seeds")] == [None, None, seeds]


def test_kept_tokens_are_counted_by_defect():
    """Seeds pooled: of the spoiled rows 1 + 0 of 4 + 2 tokens, of untouched ones 9 of 12."""
    truth = planted("wrong", CLEAN, "other", "wrong")
    tokens = {"t": [np.array([[4, 1], [6, 4]]), np.array([[2, 0], [6, 5]])]}
    table = picks_table({"t": [[0, 1], [3, 1]], "all": [[0, 1], [3, 1]]}, truth, ["g"] * 4, tokens)
    found = {(line["method"], line["defect"]): (line["kept"], line["kept_clean"]) for line in table.to_dicts()}
    assert found == {
        ("t", "wrong"): (1 / 6, 0.75), ("t", "other"): (None, 0.75), ("all", "wrong"): (None, None),
        ("all", "other"): (None, None),
    }  # fmt: skip


QUICK = TrainConfig(lora_r=2, batch_tokens=512)
PICKERS = ["longest", "random", "token-cleaning:keep=0.5", "kmq:clusters=3", "iterative-kmq:clusters=3:rounds=2:max_new_tokens=2"]


@pytest.fixture
def judged(make_pool, tiny, tmp_path):
    """Rows with the longest replies are the spoiled ones; one group of 60 rows is rare."""
    pool = make_pool(range(60), planted=lambda i: "long" if i % 4 == 3 else None, skill=lambda i: "rare" if i == 3 else "common")
    engine = Engine(store=Store(tmp_path / "store"))

    def judged(methods=PICKERS, **more):
        scores = curate.score(pool, methods, model=tiny, engine=engine, recipe=QUICK, budget="25%", **more)
        return scores, curate.judge(scores, "planted")

    return judged


def test_the_picks_of_every_method_are_judged(judged):
    scores, found = judged(seeds=2)
    assert found.groups == "skill" and set(found.tables()) == {"auroc.parquet", "enrichment.parquet"}
    auroc = {line["method"]: line["auroc"] for line in found.scores.to_dicts()}
    assert auroc["longest"] == 0.0 and np.isnan(auroc["token-cleaning:keep=0.5"])
    lines = {line["method"]: line for line in found.picks.to_dicts()}
    assert list(lines) == PICKERS == scores.methods
    # All 15 picks of `longest` are the 15 spoiled rows of 60.
    longest = lines["longest"]
    assert (longest["enrichment"], longest["rare_covered"], longest["rare_groups"]) == (4.0, 1.0, 1)
    assert (longest["seeds"], longest["selections"], longest["agree"], longest["rows"]) == (2, 1, None, 15)
    for name in PICKERS[1:]:
        assert (lines[name]["seeds"], lines[name]["selections"]) == (2, 2) and 0 <= lines[name]["agree"] < 1
        assert lines[name]["agree_random"] == pytest.approx(15 / 105, rel=0.05)
    kept = [name for name, line in lines.items() if line["kept_clean"] is not None]
    assert kept == ["token-cleaning:keep=0.5"] and 0 < lines[kept[0]]["kept_clean"] < 1
    counted = scores.picks.filter(method=kept[0], seed=0)
    assert counted["kept_tokens"].sum() == counted["reply_tokens"].sum() // 2


def test_picks_are_those_of_select(judged, make_pool, tiny, tmp_path):
    """At each seed the very rows that `select` gives."""
    scores, _ = judged(seeds=2)
    for name in PICKERS:
        for seed in (0, 1):
            alone = select(
                tmp_path / "pool.jsonl", name, budget="25%", model=tiny, seed=seed, recipe=QUICK,
                engine=Engine(store=Store(tmp_path / "store")),
            )  # fmt: skip
            assert scores.picks.filter(method=name, seed=seed)["row_id"].to_list() == alone.frame["row_id"].to_list()


def test_scores_are_those_without_a_budget(judged, tiny, tmp_path):
    scores, _ = judged(PICKERS[:4], seeds=2)
    alone = curate.score(
        tmp_path / "pool.jsonl", PICKERS[:4], model=tiny, engine=Engine(store=Store(tmp_path / "store")), recipe=QUICK
    )
    assert scores.frame.equals(alone.frame) and alone.picks is None and curate.judge(alone, "planted").picks is None


def test_what_a_score_with_a_budget_refuses(judged):
    with pytest.raises(InputError, match="seeds must be at least 1"):
        judged(["longest"], seeds=0)
    scores, _ = judged(["longest"])
    with pytest.raises(InputError, match="there is no column nothing"):
        curate.judge(scores, "planted", "nothing")
    with pytest.raises(InputError, match="the column messages does not name groups"):
        curate.judge(scores, "planted", "messages")


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
    assert {f.name for f in dataclasses.fields(Data)} == {
        "pool", "model", "target", "existing", "embedder", "recipe", "seed", "target_sources", "trained", "limit",
    }  # fmt: skip
    assert data.embedder == HiddenStates(data.model)
    for rows in (data.pool, data.target):
        assert type(rows) is Rows and {f.name for f in dataclasses.fields(Rows)} == {"role", "fingerprint", "size", "labels"}
    assert {type(seen[request]) for request in seen} == {RowScore}
    signal, table, limit = GIVEN["choose"]
    assert type(signal) is RowScore and limit.costs.tolist() == [1] * 12
    assert table.columns == ["row_id", "source", "tokens", "response_tokens"]
    assert SECRET not in repr((GIVEN, table.to_dicts(), limit))

    for labels in (lambda i: "other" if i % 3 else None, lambda i: SECRET):
        again = select(path(labels, "again.jsonl"), Spy(), budget=5, model=tiny, engine=engine)
        assert again.frame.equals(first.frame)
