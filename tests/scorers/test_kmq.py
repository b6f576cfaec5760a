"""kMQ and its rounds: shares by cluster, chances by quality, weights that follow the model's shortfall."""

import numpy as np
import polars as pl
import pytest

import curate
from curate.budget import Limit
from curate.engine import Engine
from curate.errors import InputError
from curate.lm.models import ModelSpec
from curate.method import Data
from curate.registry import make_method
from curate.requests import Embed, Fit, Generate, Observe, Replies, Rows, Subset
from curate.selectors.kmeans import kmeans
from curate.signals import RowScore, RowVector
from curate.store import Store
from scorers.iterative_kmq import IterativeKMQ
from scorers.kmq import KMQ

SIZES = [10, 50, 340]
LABELS = np.repeat([0, 1, 2], SIZES)
DATA = Data(pool=Rows("pool", "p" * 32, 400), model=ModelSpec("org/base"))
TABLE = pl.DataFrame({"row_id": [f"{i:04}" for i in range(400)]})


def of(values):
    return RowScore.of(np.array(values, dtype=float))


@pytest.fixture(autouse=True)
def clusters(monkeypatch):
    """K-means that knows what it is to find: the first entry of each vector."""
    monkeypatch.setattr("scorers.kmq.kmeans", lambda vectors, k, rng, **how: vectors[:, 0].astype(np.int64))


def seen(lengths=None, labels=LABELS):
    vectors = RowVector(np.stack([labels, labels], axis=1).astype(np.float32), np.full(len(labels), None, dtype=object))
    tokens = of(np.ones(len(labels)) if lengths is None else lengths)
    return {Embed(DATA.embedder, DATA.pool): vectors, Observe(DATA.model, DATA.pool, "response_tokens"): tokens}


def pick(budget, lengths=None, seed=0, **settings):
    method = KMQ(clusters=3, **settings)
    signal = method.signal(DATA, seen(lengths), np.random.default_rng(seed))
    return method.choose(signal, TABLE, Limit(np.ones(400), budget), np.random.default_rng(seed))


def counts(picks):
    return np.bincount(LABELS[picks.index], minlength=3).tolist()


def test_shares_of_the_budget():
    assert counts(pick(40)) == [1, 5, 34]
    assert counts(_equal(40)) == [10, 15, 15]
    assert len(pick(400)) == 400 and pick(401).shortfall is not None and len(pick(0)) == 0


def _equal(budget):
    method = KMQ(clusters=3, budget="equal")
    signal = method.signal(DATA, seen(), np.random.default_rng(0))
    return method.choose(signal, TABLE, Limit(np.ones(400), budget), np.random.default_rng(0))


def test_rows_inside_a_cluster_are_drawn_in_proportion_to_their_quality():
    """Of two rows, one three times as long: it is drawn three times in four."""
    labels, lengths = np.array([0, 0]), [3.0, 1.0]
    data = Data(pool=Rows("pool", "q" * 32, 2), model=DATA.model)
    answers = {Embed(data.embedder, data.pool): seen(labels=labels)[Embed(DATA.embedder, DATA.pool)]}
    answers[Observe(data.model, data.pool, "response_tokens")] = of(lengths)
    for weight, chance in (("linear", 0.75), ("softmax", 1 / (1 + np.exp(-2))), ("rank", 2 / 3)):
        method = KMQ(clusters=1, weight=weight)
        signal = method.signal(data, answers, np.random.default_rng(0))
        drawn = [method.choose(signal, TABLE, Limit(np.ones(2), 1), np.random.default_rng(seed)).index[0] for seed in range(2000)]
        assert np.mean(np.array(drawn) == 0) == pytest.approx(chance, abs=0.03)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kmq:clusters=0", "setting 'clusters': it must be greater than or equal to 1, not '0'"),
        ("kmq:clusters=-3", "setting 'clusters': it must be greater than or equal to 1, not '-3'"),
        ("iterative-kmq:clusters=0", "setting 'clusters': it must be greater than or equal to 1, not '0'"),
        ("kmq:clusters=few", "setting 'clusters': a number or text is wanted, not 'few'"),
        ("kmq:quality=kmq", "its own score is the quality that it is given; name that instead"),
        ("kmq:quality=dpp", "its own score is the quality that it is given; name that instead"),
        ("dpp:quality=kmq", "its own score is the quality that it is given; name that instead"),
        ("kmq:quality=iterative-kmq", "it chooses for one budget and has no scores"),
        ("kmq:quality=lobas", "did you mean lobass"),
    ],
)
def test_settings_that_make_no_sense(text, said):
    with pytest.raises(InputError) as error:
        make_method(text)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("rows", "spread", "said"),
    [
        (63, 1.0, "63 rows are too few for 8 clusters of 8: one cluster; set clusters=... to have more"),
        (64, 1.0, "8 clusters by silhouette"),
        (64, 0.0, "no number of clusters parts these rows, whose embeddings are alike: one cluster"),
    ],
)
def test_it_says_why_there_is_one_cluster(rows, spread, said, monkeypatch):
    monkeypatch.setattr("scorers.kmq.kmeans", kmeans)  # the real one
    data = Data(pool=Rows("pool", "r" * 32, rows), model=DATA.model)
    values = np.random.default_rng(0).normal(size=(rows, 4)).astype(np.float32) * spread + 1
    answers = {Embed(data.embedder, data.pool): RowVector(values, np.full(rows, None, dtype=object))}
    answers[Observe(data.model, data.pool, "response_tokens")] = of(np.ones(rows))
    method = KMQ()
    assert method.remarks(data, method.signal(data, answers, np.random.default_rng(0))) == [said]


def test_a_softmax_of_large_numbers_is_no_overflow():
    picks = pick(40, lengths=np.arange(400) * 1e4, weight="softmax")
    assert counts(picks) == [1, 5, 34] and {9, 59, 399} <= set(picks.index.tolist())


def test_rows_without_a_vector_are_left_out():
    answers = seen()
    vectors = answers[Embed(DATA.embedder, DATA.pool)]
    vectors.values[5], vectors.reasons[5] = np.nan, "no token in this view"
    method = KMQ(clusters=3)
    signal = method.signal(DATA, answers, np.random.default_rng(0))
    picks = method.choose(signal, TABLE, Limit(np.ones(400), 400), np.random.default_rng(0))
    assert 5 not in picks.index and picks.nulls == 1 and method.score(signal).reasons[5] == "no token in this view"


def test_a_quality_below_0_needs_another_weight(monkeypatch):
    monkeypatch.setattr("scorers.kmq.quality", lambda *a: of(np.linspace(-1, 1, 400)))
    with pytest.raises(InputError, match="below 0 for some rows; use weight=softmax"):
        pick(40)
    assert len(pick(40, weight="rank")) == 40


class Model:
    """Answers of a model that falls short on cluster 1 alone."""

    def __init__(self, short):
        self.short = short

    def answer(self, request):
        labels = LABELS[request.rows.index]
        if isinstance(request, Observe):
            return of(1.0 + np.array(self.short)[labels])
        n = len(labels)
        return Replies([""] * n, np.ones(n), 1 - np.array(self.short)[labels], np.full(n, None, dtype=object))


def refine(short, budget=60, **settings):
    """All rounds, played with a mock model; and the requests of each."""
    method = IterativeKMQ(clusters=3, **settings)
    data = Data(pool=DATA.pool, model=DATA.model, limit=Limit(np.ones(400), budget), seed=3)
    known, rounds, model = seen(), [], Model(short)
    while True:
        new = [request for request in method.requests(data, known) if request not in known]
        if not new:
            break
        rounds.append(new)
        known |= {request: model.answer(request) for request in new}
    signal = method.signal(data, known, np.random.default_rng(0))
    return method.choose(signal, TABLE, data.limit, np.random.default_rng(0)), signal, rounds


@pytest.mark.parametrize("shortfall", ["perplexity", "overlap"])
def test_more_of_the_budget_goes_where_the_model_falls_short(shortfall):
    picks, signal, rounds = refine([0.0, 0.9, 0.0], shortfall=shortfall)
    assert [len(part) for part in signal.rounds] == [20, 20, 20] and len(np.unique(picks.index)) == 60
    parts = [np.bincount(LABELS[part], minlength=3)[1] for part in signal.rounds]
    assert parts[0] < parts[1] < parts[2]
    weights = [w["1"] for w in signal.weights]
    factor = np.exp([0.0, 0.9, 0.0])
    np.testing.assert_allclose(weights, [1 / 3, factor[1] / factor.sum(), (factor**2)[1] / (factor**2).sum()])
    assert len(rounds) == 2  # none after the last round


def test_each_training_is_on_all_that_was_picked_so_far():
    _, signal, rounds = refine([0.0, 0.9, 0.0])
    fits = [next(r.model for r in asked if isinstance(r, Observe)) for asked in rounds]
    assert all(isinstance(fit, Fit) and fit.recipe.epochs == 1 and fit.model == DATA.model for fit in fits)
    so_far = [np.sort(np.concatenate(signal.rounds[: n + 1])) for n in range(2)]
    assert [fit.rows for fit in fits] == [Subset(DATA.pool, rows) for rows in so_far]
    replies = [next(r for r in asked if isinstance(r, Generate)) for asked in rounds]
    assert [r.rows for r in replies] == [Subset(DATA.pool, np.sort(part)) for part in signal.rounds[:2]]


def test_one_round_is_kmq_with_equal_weights():
    picks, _, rounds = refine([0.0, 0.9, 0.0], rounds=1, budget=30)
    assert not rounds and counts(picks) == [10, 10, 10]


def test_rounds_that_pick_nothing_are_said():
    picks, signal, _ = refine([0.0, 0.9, 0.0], rounds=9, budget=3)
    assert len(picks) == 3
    said = IterativeKMQ(clusters=3, rounds=9).remarks(DATA, signal)
    assert "6 of the 9 rounds picked no row: the budget has too few for as many" in said
    _, signal, _ = refine([0.0, 0.9, 0.0], rounds=3, budget=3)
    assert not any("picked no row" in text for text in IterativeKMQ(clusters=3).remarks(DATA, signal))


def test_a_cluster_that_is_used_up_leaves_the_rest_to_the_others():
    picks, _, _ = refine([5.0, 0.0, 0.0], budget=100)
    assert len(picks) == 100 and counts(picks)[0] == 10


def test_on_a_pool(make_pool, tiny, tmp_path, monkeypatch):
    """Two trainings, replies to their rounds, and the exact budget; the same again from the store."""
    monkeypatch.undo()
    pool, store = make_pool(range(60)), Store(tmp_path / "store")
    settings = {"clusters": 3, "max_new_tokens": 8}

    def run():
        engine = Engine(store=store)
        picked = curate.select(pool, "iterative-kmq", budget=12, settings=settings, model=tiny, engine=engine)
        return picked, [stage.kind for stage in engine.stages if stage.computed_rows]

    first, kinds = run()
    assert len(first) == 12 and kinds.count("train") == 2 and kinds.count("replies") == 2
    again, kinds = run()
    assert again.frame.equals(first.frame) and not kinds
    with pytest.raises(InputError, match="has no scores; name a budget, or use select"):
        curate.score(pool, ["iterative-kmq"], model=tiny)
    engine = Engine(store=store)
    static = curate.select(pool, "kmq", budget=12, settings={"clusters": 3}, model=tiny, engine=engine)
    assert len(static) == 12 and static.frame["stratum"].n_unique() == 3
    assert static.scores["score"].null_count() == 0 and static.summary["remarks"] == ["3 clusters"]
