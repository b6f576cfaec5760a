"""Known answers of S2L: trajectories, not their means; the smallest cluster first."""

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
from curate.requests import Checkpoint, Fit, Rows
from curate.signals import RowVector
from curate.store import Store
from curate.training.config import TrainConfig
from scorers.s2l import S2L

RNG = np.random.default_rng


def trajectories(values, reasons=None):
    values = np.array(values, dtype=np.float32)
    return RowVector(values, np.array(reasons or [None] * len(values), dtype=object))


def clouds(sizes):
    """Trajectories in as many well separated groups."""
    rng = RNG(0)
    return np.concatenate([20 * i + rng.normal(scale=0.1, size=(size, 4)) for i, size in enumerate(sizes)])


def table(n, sources=None):
    return pl.DataFrame({"row_id": [f"{i:04}" for i in range(n)], "source": sources or [None] * n})


def pick(values, budget, *, sources=None, reasons=None, seed=0, **settings):
    signal = trajectories(values, reasons)
    limit = Limit(np.ones(len(signal)), budget)
    return S2L(**settings).choose(signal, table(len(signal), sources), limit, RNG(seed))


def counts(picks, sizes):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    return np.bincount(groups[picks.index], minlength=len(sizes)).tolist()


def test_opposite_slopes_with_the_same_mean_are_two_clusters():
    """A toy that clusters on the mean loss cannot tell them apart."""
    rng = RNG(0)
    slopes = np.array([[3.0, 2.0, 1.0]] * 60 + [[1.0, 2.0, 3.0]] * 10)
    values = slopes + rng.normal(scale=0.01, size=slopes.shape)
    values += 2 - values.mean(axis=1, keepdims=True)  # to the digit
    picks = pick(values, 20, clusters=2)
    assert counts(picks, [60, 10]) == [10, 10]
    falling = {stratum for stratum, i in zip(picks.stratum, picks.index, strict=True) if i < 60}
    rising = {stratum for stratum, i in zip(picks.stratum, picks.index, strict=True) if i >= 60}
    assert len(falling) == len(rising) == 1 and falling != rising


@pytest.mark.parametrize(
    "sizes, budget, expected",
    [
        ([3, 10, 100], 60, [3, 10, 47]),  # in proportion it would be about 2, 5, 53
        ([5, 5, 5], 6, [2, 2, 2]),
        ([4, 4, 100], 3, [1, 1, 1]),
        ([1, 2, 50], 20, [0, 0, 20]),
        ([1, 2, 50], 53, [1, 2, 50]),
        ([5, 5, 5], 7, [2, 2, 3]),
    ],
)
def test_the_smallest_cluster_first(sizes, budget, expected, monkeypatch):
    fixed = np.repeat(np.arange(len(sizes)), sizes)
    monkeypatch.setattr("scorers.s2l.kmeans", lambda vectors, k, rng, **how: fixed)
    assert counts(pick(clouds(sizes), budget), sizes) == expected


def test_inside_a_cluster_rows_are_drawn_at_random():
    drawn = [set(pick(clouds([50]), 10, clusters=1, seed=seed).index.tolist()) for seed in range(30)]
    assert len({frozenset(d) for d in drawn}) > 25 and set.union(*drawn) == set(range(50))


def test_rows_without_a_trajectory_are_left_out():
    values, reasons = clouds([10, 10]), [None] * 20
    values[3], reasons[3] = np.nan, "no reply"
    picks = pick(values, 20, reasons=reasons, clusters=2)
    assert 3 not in picks.index and picks.nulls == 1 and "19 of 20" in picks.shortfall


def test_rows_that_are_all_alike_are_one_cluster():
    picks = pick(np.ones((30, 4)), 12, clusters=10)
    assert len(picks) == 12 and len(set(picks.stratum)) == 1


def test_an_equal_share_for_every_source_and_clusters_inside():
    """The small source is taken whole; in the large one the small cluster is."""
    values = np.concatenate([clouds([30, 5]), clouds([6])])
    sources = ["big"] * 35 + ["small"] * 6
    picks = pick(values, 20, sources=sources, by_source=True, clusters=2)
    assert counts(picks, [30, 5, 6]) == [9, 5, 6]
    assert {stratum.split("/")[0] for stratum in picks.stratum} == {"big", "small"}
    assert len(pick(values, 0, sources=sources, by_source=True)) == 0


def test_one_pass_for_each_checkpoint_of_one_proxy():
    data = Data(pool=Rows("pool", "p" * 32, 3), model=ModelSpec("org/large"), seed=5)
    requests = S2L(checkpoints=3, proxy="org/small").requests(data, {})
    fits = {request.model.fit for request in requests}
    assert [request.model for request in requests] == [Checkpoint(fit, i) for fit in fits for i in (1, 2, 3)]
    [fit] = fits
    assert isinstance(fit, Fit) and fit.model == ModelSpec("org/small") and fit.rows == data.pool
    assert fit.recipe.seed == 5 and fit.recipe.epochs == 3 and fit.recipe.adapter == "none"
    assert S2L(proxy="org/small").readers() == (ModelSpec("org/small"),)


def test_the_proxy_is_trained_by_the_run_and_by_its_own_rate():
    """Adapters, the rate and the length of the final run are not the proxy's; its precision, memory and batch are."""
    final = TrainConfig(
        dtype="bfloat16", gradient_checkpointing=True, batch_tokens=4096, learning_rate=1e-3, lora_r=8, tokens=500,
        token_policy="sstoken", loss="dft",
    )  # fmt: skip
    data = Data(pool=Rows("pool", "p" * 32, 3), model=ModelSpec("org/large"), seed=5, recipe=final)

    def recipe(**settings):
        [fit] = {request.model.fit for request in S2L(proxy="org/small", **settings).requests(data, {})}
        return fit.recipe

    shared = {
        "adapter": "none",
        "epochs": 3,
        "save_checkpoints": 12,
        "seed": 5,
        "dtype": "bfloat16",
        "gradient_checkpointing": True,
    }
    assert recipe() == TrainConfig(**shared, batch_tokens=4096)
    assert recipe(learning_rate=2e-5, batch_tokens=512) == TrainConfig(**shared, batch_tokens=512, learning_rate=2e-5)
    assert make_method("s2l:learning_rate=2e-5:batch_tokens=64") == S2L(learning_rate=2e-5, batch_tokens=64)
    for text in ("s2l:learning_rate=0", "s2l:batch_tokens=0"):
        with pytest.raises(InputError, match="it must be greater than"):
            make_method(text)


@pytest.fixture
def engine(tmp_path):
    return Engine(store=Store(tmp_path / "store"))


def test_on_a_pool_with_a_proxy_of_its_own(engine, make_pool, tiny, base4m):
    """Trained once, observed at each checkpoint; another budget computes nothing."""
    pool = make_pool(range(60))
    settings = {"proxy": str(tiny), "checkpoints": 2, "clusters": 4, "epochs": 2}
    asked = {"settings": settings, "model": base4m, "engine": engine}
    first = curate.select(pool, "s2l", budget=20, **asked)
    passes = [stage for stage in engine.stages if stage.kind == "pass"]
    assert len(passes) == 2 and all(stage.computed_rows == 60 for stage in passes)
    assert first.frame["stratum"].n_unique() > 1 and first.scores["score"].null_count() == 60
    [remark] = first.summary["remarks"]
    assert "tiny costs" not in remark and remark.startswith("a token costs the proxy tiny 1/")
    again = curate.select(pool, "s2l", budget=10, **{**asked, "engine": Engine(store=engine.store)})
    assert again.summary["computed_rows"] == 0 and len(again) == 10


def test_more_checkpoints_than_steps_is_said(engine, make_pool, tiny):
    with pytest.raises(InputError, match="50 checkpoints were asked for, but the training takes only"):
        curate.select(
            make_pool(range(12)), "s2l", budget=2, settings={"proxy": str(tiny), "checkpoints": 50}, model=tiny, engine=engine
        )
