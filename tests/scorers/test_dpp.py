"""The determinantal point process as a method: its features, its quality, its command line."""

import json

import numpy as np
import polars as pl
import pytest

import curate
from curate.budget import Budget
from curate.embedding.similarity import NO_DIRECTION
from curate.engine import Engine
from curate.errors import InputError
from curate.lm.models import ModelSpec
from curate.method import Data
from curate.registry import make_method
from curate.requests import Embed, Gradients, HiddenStates, Observe, Rows, SentenceEncoder, Tfidf
from curate.selectors import dpp as selectors
from curate.selectors.similarity import Similarity
from curate.signals import RowScore, RowVector
from curate.store import Store
from scorers.dpp import DPP

POOL, MODEL = Rows("pool", "p" * 32, 20), ModelSpec("org/base")
DATA = Data(pool=POOL, model=MODEL)
VALUES = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
TOKENS = np.random.default_rng(1).integers(1, 400, 20).astype(float)
NAN = float("nan")


def by_embedding(**settings):
    return DPP(features="embedding", **settings)


def vectors(values=VALUES):
    return RowVector(np.array(values, dtype=np.float32), np.full(len(values), None, dtype=object))


def run(method, known=DATA, pool=None, budget=8, **observed):
    seen = {Embed(known.embedder, POOL): pool or vectors()}
    for name, values in {"response_tokens": TOKENS, **observed}.items():
        seen[Observe(MODEL, POOL, name)] = values if isinstance(values, RowScore) else RowScore.of(np.array(values))
    assert set(method.requests(known, seen)) <= set(seen)
    signal = method.signal(known, seen, np.random.default_rng(0))
    return signal, method.choose(signal, None, Budget.parse(budget).limit(np.ones(20)), np.random.default_rng(0))


def test_it_asks_for_embeddings_and_what_its_quality_needs():
    length, vector, loss = (
        Observe(MODEL, POOL, "response_tokens"),
        Embed(HiddenStates(MODEL), POOL),
        Observe(MODEL, POOL, "mean_loss"),
    )
    assert by_embedding().requests(DATA, {}) == [vector, length]
    assert by_embedding(quality="none").requests(DATA, {}) == [vector]
    assert by_embedding(quality="perplexity").requests(DATA, {}) == [vector, loss]


def test_by_itself_it_reads_gradients_at_fresh_adapters():
    """The paper's features: of the B matrices of a fresh LoRA of rank 512, sparsely projected to 4,096, and a gamma of 1."""
    vector, length = DPP().requests(DATA, {})
    config = vector.config
    assert isinstance(vector, Gradients) and vector.model == MODEL and length == Observe(MODEL, POOL, "response_tokens")
    assert (config.parameters, config.projection, config.dimensions, config.adam) == ("lora_b", "sparse", 4096, None)
    assert config.fresh.r == 512 and config.fresh.alpha in (None, 512 * 512**0.5)
    signal = DPP().signal(DATA, {vector: vectors(), length: RowScore.of(TOKENS)}, np.random.default_rng(0))
    assert signal.similarity == Similarity("sphere", 1.0)


def test_on_a_pool_by_gradients(make_pool, tiny, tmp_path):
    engine = Engine(store=Store(tmp_path / "store"))
    asked = {"settings": {"dimensions": 64}, "model": tiny, "engine": engine}
    picked = curate.select(make_pool(range(24)), "dpp", budget=8, **asked)
    assert len(picked) == 8 and np.isfinite(picked.frame["gain"].to_numpy()).all()
    [stage] = [stage for stage in engine.stages if stage.kind == "gradients"]
    assert stage.computed_rows == 24 and stage.tokens == picked.summary["pool_tokens"]


def test_picks_are_those_of_the_selector():
    limit = Budget.parse(8).limit(np.ones(20))
    for settings, gamma, theta, quality in (
        ({}, 10.0, 0.1, TOKENS),
        ({"theta": 0.6}, 10.0, 0.6, TOKENS),
        ({"gamma": 2.0}, 2.0, 0.1, TOKENS),
        ({"quality": "none"}, 10.0, 0.0, None),
        ({"theta": 0}, 10.0, 0.0, None),
        ({"theta": 1}, 10.0, 1.0, TOKENS),
    ):
        want = selectors.dpp(VALUES, limit, quality=quality, theta=theta, similarity=Similarity("sphere", gamma))
        found = run(by_embedding(**settings))[1]
        assert found.index.tolist() == want.index.tolist()
        np.testing.assert_allclose(found.gain, want.gain)


@pytest.mark.parametrize(
    ("embedder", "gamma"), [(None, 10), (HiddenStates(MODEL, "last"), 10), (SentenceEncoder("a/b"), 1), (Tfidf(8, POOL), 1)]
)
def test_the_width_of_the_kernel_is_that_of_the_features(embedder, gamma):
    known = Data(pool=POOL, model=MODEL, embedder=embedder)
    assert run(by_embedding(), known)[0].similarity == Similarity("sphere", gamma)
    assert run(by_embedding(gamma=3), known)[0].similarity.gamma == 3


def test_the_score_is_the_quality():
    method = by_embedding()
    assert method.score(run(method)[0]).values.tolist() == TOKENS.tolist()
    alone = by_embedding(quality="none")
    scores = alone.score(run(alone)[0])
    assert scores.is_null.all() and scores.reasons[0] == "dpp chooses sets of rows"


def test_another_method_gives_quality_by_its_ranks():
    losses = np.linspace(-3, 3, 20)[::-1].copy()
    losses[4] = losses[5]
    method = by_embedding(quality="perplexity:window=high", theta=0.9)
    signal, found = run(method, mean_loss=losses)
    ranks = np.array([20, 19, 18, 17, 15.5, 15.5, *range(14, 0, -1)]) / 20
    np.testing.assert_allclose(signal.quality.values, ranks)
    want = selectors.dpp(
        VALUES, Budget.parse(8).limit(np.ones(20)), quality=ranks, theta=0.9, similarity=Similarity("sphere", 10.0)
    )
    assert found.index.tolist() == want.index.tolist()
    kept = run(by_embedding(quality="perplexity", theta=1), mean_loss=losses)[1]  # what perplexity keeps, it keeps first
    assert set(kept.index.tolist()) <= set(range(4, 16))


def test_nulls_keep_their_reasons():
    values, lengths = VALUES.copy(), TOKENS.copy()
    values[3], lengths[5] = 0, 0
    signal, found = run(by_embedding(), pool=vectors(values), response_tokens=lengths, budget=20)
    assert signal.reasons[3] == NO_DIRECTION and signal.reasons[5] == "no reply tokens" and found.nulls == 2 and len(found) == 18
    assert by_embedding().score(signal).is_null.tolist() == [i in (3, 5) for i in range(20)]
    loss = RowScore(np.array([NAN, *range(19)], dtype=float), np.array(["it failed", *[None] * 19], dtype=object))
    signal, found = run(by_embedding(quality="perplexity"), mean_loss=loss, budget=20)
    assert signal.reasons[0] == "it failed" and found.nulls == 1
    with pytest.raises(InputError, match="quality perplexity: it gives no row a score .it failed."):
        run(by_embedding(quality="perplexity"), mean_loss=RowScore(np.full(20, NAN), np.full(20, "it failed", dtype=object)))
    none = RowVector(np.empty((20, 0), np.float32), np.full(20, "no token in this view", dtype=object))
    assert len(run(by_embedding(), pool=none)[1]) == 0


def test_copies_are_filled_in_and_said():
    values = np.repeat(VALUES[:4], 5, axis=0)
    found = run(by_embedding(), pool=vectors(values), budget=10)[1]
    assert len(found) == 10 and found.shortfall.startswith("6 of the 10 picks were filled by quality")


def test_settings_that_make_no_sense():
    for settings in (
        {"theta": 1.1},
        {"gamma": 0},
        {"similarity": "cosine", "gamma": 1.0},
        {"quality": "lobas"},
        {"features": "x"},
    ):
        with pytest.raises(ValueError):
            DPP(**settings)
    with pytest.raises(InputError, match="no method is called 'lobas'; did you mean lobass"):
        make_method("dpp:quality=lobas")


def test_on_the_command_line(make_pool, tiny, tmp_path, capsys):
    from curate.cli import _main

    pool = make_pool(range(24))
    command = [
        "select",
        str(pool),
        "--model",
        str(tiny),
        "--method",
        "dpp",
        "--budget",
        "6",
        "--json",
        "--store",
        str(tmp_path / "store"),
    ]
    assert _main([*command, "--out", str(tmp_path / "one")]) == 0
    assert json.loads(capsys.readouterr().out)["selected"] == 6
    frame = pl.read_parquet(tmp_path / "one" / "selection.parquet")
    assert frame["reason"][0].startswith("gain ") and frame["score"].null_count() == 0
    assert _main([*command, "--set", "quality=perplexity", "--set", "theta=0.5", "--out", str(tmp_path / "two")]) == 0
    assert _main([*command, "--embedder", "tfidf:8", "--set", "quality=none", "--out", str(tmp_path / "three")]) == 0


def test_picks_that_were_filled_leave_nothing_to_fill_at_random(make_pool, tiny, tmp_path):
    found = curate.select(
        make_pool(range(24)), by_embedding(similarity="cosine", quality="none"), budget=12, model=tiny, embedder="tfidf:4", fill="random",
        engine=curate.Engine(store=curate.Store(tmp_path / "store")),
    )  # fmt: skip
    assert len(found) == 12 and found.summary["shortfall"].startswith("8 of the 12 picks were filled by index")
    assert "at random" not in found.summary["shortfall"] and found.frame["gain"].null_count() == 8
