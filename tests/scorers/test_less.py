"""Known answers of LESS, from gradients given and from a real, tiny run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from curate.budget import Budget
from curate.engine import Engine
from curate.errors import InputError
from curate.lm.gradient_config import Adam
from curate.lm.models import ModelSpec
from curate.method import Data
from curate.pool import read_pool
from curate.requests import Checkpoint, Fit, FittedModel, Gradients, Rows, Subset
from curate.scoring import plan, score
from curate.selection import select
from curate.signals import RowVector
from curate.store import Store
from curate.training.config import TrainConfig, mean_rates
from scorers.bids import BIDS
from scorers.less import LESS

POOL, TARGET = Rows("pool", "p" * 32, 100), Rows("target", "t" * 32, 4)
DATA = Data(pool=POOL, model=ModelSpec("org/base"), target=TARGET, seed=7, target_sources=("b", "a", "b", "a"))
NAN = float("nan")


def vectors(values, reasons=None):
    values = np.array(values, dtype=np.float32)
    return RowVector(values, np.array(reasons if reasons is not None else [None] * len(values), dtype=object))


def signal(method, pool, target, sources, steps=40):
    """The method's signal from gradients [checkpoints][rows] of the pool and of the target."""
    rows, aims = Rows("pool", "p" * 32, len(pool[0])), Rows("target", "t" * 32, len(target[0]))
    data = Data(pool=rows, model=DATA.model, target=aims, seed=7, target_sources=tuple(sources))
    fit, *asked = method.requests(data, {})
    seen = {fit: FittedModel(Path("fit"), "a", {"steps": steps})}
    for request in asked:
        given = (pool if request.rows == rows else target)[request.model.number - 1]
        seen[request] = given if isinstance(given, RowVector) else vectors(given)
    return method.signal(data, seen, np.random.default_rng(0))


def values(method, *args, **keys):
    return method.score(signal(method, *args, **keys)).values


ONE = LESS(epochs=1, warmup=0.5)


def test_the_best_subtask_and_not_the_mean_of_all():
    target = np.array([[1.0, 0.0], [0.0, 1.0]])
    pool = np.array([[0.9, -np.sqrt(0.19)], [0.5, 0.5]])
    assert values(ONE, [pool], [target], "ab") == pytest.approx([0.9, np.sqrt(0.5)], abs=1e-6)
    assert values(LESS(epochs=1, subtasks="one"), [pool], [target], "ab") == pytest.approx(
        [(0.9 - np.sqrt(0.19)) / 2, np.sqrt(0.5)], abs=1e-6
    )


def test_a_mean_of_cosines_over_subtasks_of_any_sizes():
    rng = np.random.default_rng(0)
    target, pool = rng.standard_normal((5, 8)) * [[1], [50], [1], [1], [0.01]], rng.standard_normal((9, 8))
    cos = (pool @ target.T) / np.linalg.norm(pool, axis=1)[:, None] / np.linalg.norm(target, axis=1)
    want = np.maximum(cos[:, :4].mean(axis=1), cos[:, 4])
    assert values(ONE, [pool], [target], "xxxxy") == pytest.approx(want, abs=1e-6)
    assert values(ONE, [pool * 10 ** rng.standard_normal((9, 1))], [target], "xxxxy") == pytest.approx(want, abs=1e-6)


def test_checkpoints_weigh_by_the_learning_rates_that_led_to_them():
    method = LESS(epochs=2)
    target, along, across = [[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]]
    first = values(method, [along, across], [target, target], "a")[0]
    last = values(method, [across, along], [target, target], "a")[0]
    config = method.requests(DATA, {})[0].recipe
    rates = mean_rates(config, 40)
    assert first == pytest.approx(rates[0] / sum(rates), abs=1e-6) and first + last == pytest.approx(1, abs=1e-6)
    # Linear from the peak to 0: about 3 to 1.
    assert first == pytest.approx(0.75, abs=0.02)


def test_rates_are_means_between_checkpoints():
    constant = TrainConfig(epochs=3, save_checkpoints=3, schedule="constant", warmup_ratio=0)
    assert mean_rates(constant, 10) == [1, 1, 1]
    linear = TrainConfig(epochs=2, save_checkpoints=2, schedule="linear", warmup_ratio=0)
    assert mean_rates(linear, 4) == pytest.approx([(1 + 0.75) / 2, (0.5 + 0.25) / 2])
    with pytest.raises(ValueError, match="only 1 step"):
        mean_rates(linear, 1)


def test_rows_without_a_gradient_are_null_and_a_zero_one_is_no_cosine_of_0():
    pool = vectors([[1.0, 0.0], [NAN, NAN], [0.0, 0.0], [-1.0, 0.1]], [None, "out of memory", None, None])
    later = vectors([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [-1.0, 0.1]])
    target = [[1.0, 0.0]]
    found = signal(LESS(epochs=2), [pool, later], [target, target], "a")
    assert found.reasons.tolist() == ["the gradient is zero", "out of memory", "the gradient is zero", None]
    scores = LESS(epochs=2).score(found)
    assert scores.reasons.tolist() == found.reasons.tolist() and np.isnan(scores.values[:3]).all() and scores.values[3] < -0.9
    picks = LESS(epochs=2).choose(found, None, Budget.parse(4).limit(np.ones(4)), np.random.default_rng(0))
    assert picks.index.tolist() == [3] and picks.nulls == 3


def test_targets_without_a_gradient_are_left_out():
    pool = [[1.0, 0.0], [0.0, 1.0]]
    target = vectors([[1.0, 0.0], [NAN, NAN], [0.0, 0.0]], [None, "out of memory", None])
    assert values(ONE, [pool], [target], "aab") == pytest.approx([1, 0])
    with pytest.raises(InputError, match="less: no row of the target has a gradient"):
        signal(ONE, [pool], [vectors([[0.0, 0.0]])], "a")
    none = RowVector(np.empty((1, 0), np.float32), np.array(["out of memory"], dtype=object))
    with pytest.raises(InputError, match="less: no row of the target has a gradient"):
        signal(ONE, [pool], [none], "a")


def test_what_all_directions_share_is_said():
    pool = np.array([[3.0, 1.0], [3.0, -1.0]])
    found = signal(ONE, [pool], [[[1.0, 0.0]]], "a")
    assert found.shared == (pytest.approx(3 / np.sqrt(10)),)
    said = "the rows' directions have a mean cosine of 0.95 with their mean direction: they are nearly the same, so scores tell "
    assert ONE.remarks(DATA, found) == [said + "little apart; direction=sgd leaves out what Adam adds to all"]
    assert LESS(epochs=1, direction="sgd").remarks(DATA, found) == [said + "little apart"]
    apart = signal(ONE, [np.array([[1.0, 1.0], [1.0, -1.0]])], [[[1.0, 0.0]]], "a")
    [said] = ONE.remarks(DATA, apart)
    assert "0.71" in said and said.endswith(": they differ, as they should for scores to tell rows apart")


# What it asks for -----------------------------------------------------------------------------------------------------


def test_it_asks_for_a_warm_up_and_gradients_at_its_checkpoints():
    fit, *asked = LESS().requests(DATA, {})
    assert isinstance(fit, Fit) and isinstance(fit.rows, Subset) and fit.rows.size == 5
    recipe = fit.recipe
    assert (recipe.epochs, recipe.save_checkpoints, recipe.save_optimizer, recipe.adapter) == (4, 4, True, "lora")
    assert (recipe.seed, recipe.schedule, recipe.lora_dropout) == (7, "linear", 0.1)
    assert recipe.target_modules == ("q_proj", "k_proj", "v_proj", "o_proj")
    assert [(r.model, r.rows) for r in asked] == [(Checkpoint(fit, i), rows) for i in (1, 2, 3, 4) for rows in (POOL, TARGET)]
    for request in asked:
        config = request.config
        assert (config.adam == Adam()) == (request.rows == POOL) and (config.adam is None) == (request.rows == TARGET)
        assert (config.parameters, config.projection, config.dimensions, config.seed) == ("lora", "rademacher", 8192, 0)
    assert LESS().requests(DATA, {}) == [fit, *asked]


def test_its_settings_reach_the_requests():
    fit, pool, target, *_ = LESS(
        warmup=0.2, target_modules="all-linear", eps_place="outside", dimensions=64, batch_tokens=99
    ).requests(DATA, {})
    assert fit.rows.size == 20 and fit.recipe.target_modules == "all-linear" and fit.recipe.batch_tokens == 99
    assert pool.config.adam == Adam(eps_place="outside") and target.config.dimensions == 64
    assert LESS(direction="sgd").requests(DATA, {})[1].config == LESS().requests(DATA, {})[2].config
    other = LESS().requests(replace(DATA, seed=8), {})[0]
    assert other.rows != LESS().requests(DATA, {})[0].rows
    full = replace(DATA, recipe=TrainConfig(adapter="none", learning_rate=1e-5, tokens=100, batch_tokens=512))
    assert (recipe := LESS().requests(full, {})[0].recipe).learning_rate is None and recipe.batch_tokens == 512
    small = replace(DATA, pool=Rows("pool", "q" * 32, 3))
    assert LESS().requests(small, {})[0].rows.size == 1
    assert LESS(warmup=0.29).requests(DATA, {})[0].rows.size == 29  # 0.29 x 100 is below 29 in floats


@pytest.mark.parametrize("store", ["float16", "int8", "1bit"])
def test_the_pool_s_vectors_may_be_kept_in_fewer_bits_and_the_target_s_stay(store):
    for pool, aim in LESS(store=store, projection="sketch").gradients(DATA):
        assert (pool.config.dtype, aim.config.dtype) == (store, "float16") and pool.config.projection == "sketch"
    assert LESS().gradients(DATA)[0][0].config.identity() == {"adam": {}, "dtype": "float16"}


@pytest.mark.parametrize("method", [LESS(), BIDS()])
def test_it_needs_a_target(method):
    with pytest.raises(InputError, match=f"^{method.name} needs --target: examples of what the model should become good at$"):
        method.requests(replace(DATA, target=None), {})


# A real run -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(make_pool):
    """A pool, and a target of which every row is one of the pool's."""
    return make_pool(range(24)), make_pool([3, 8, 13], name="target.jsonl")


SETTINGS = {"warmup": 0.5, "epochs": 2, "batch_tokens": 128, "lora_r": 2, "dimensions": 256, "target_modules": "q_proj,v_proj"}


def test_rows_like_the_target_come_first(files, tiny, tmp_path):
    pool, target = files
    engine = Engine(store=Store(tmp_path / "store"))
    method = LESS(direction="sgd", subtasks="source", **SETTINGS)
    scores = score(pool, method, model=tiny, target=target, engine=engine)
    column = scores.frame.columns[-1]
    assert scores.frame[column].null_count() == 0 and scores.frame[column].n_unique() >= 22
    # The target's rows lie in three sources, so each is its own subtask, and a row's cosine with itself is 1.
    assert scores.frame.filter(scores.frame[column] > 0.99).height == 3
    assert [stage.kind for stage in scores.stages].count("gradients") == 4
    assert any("mean direction" in text for text in scores.manifest["remarks"])
    again = score(pool, method, model=tiny, target=target, engine=Engine(store=engine.store))
    assert again.frame.equals(scores.frame) and not [stage for stage in again.stages if stage.kind == "train"]
    assert all(stage.computed_rows == 0 for stage in again.stages if stage.kind == "gradients")


def test_it_is_planned_before_it_runs(files, tiny, tmp_path):
    pool, target = files
    engine = Engine(store=Store(tmp_path / "store"))
    found, _ = plan(pool, [LESS(**SETTINGS), BIDS(**SETTINGS)], engine=engine, model=tiny, target=target)
    assert len(found.fits) == 1 and len(found.gradients) == 4  # both methods share them
    assert sum(isinstance(request, Gradients) and request.config.adam is not None for request in found.gradients) == 2


def test_bids_picks_for_every_target(files, tiny, tmp_path):
    pool, target = files
    engine = Engine(store=Store(tmp_path / "store"))
    picked = select(pool, BIDS(direction="sgd", **SETTINGS), budget=3, model=tiny, target=target, engine=engine)
    assert len(picked) == 3 and picked.frame["gain"].null_count() == 0
    assert picked.frame["reason"].str.starts_with("helps target").all()
    assert picked.scores["score"].null_count() == 24
    assert picked.scores["null_reason"].unique().to_list() == ["bids chooses sets of rows"]


def test_what_bids_is_compared_with_scores_rows():
    """Influence on the one task is ten times that on the other: raw, only its rows are picked."""
    pool = np.array([[1, 0.9, 0, 0], [0.9, 1, 0, 0], [0, 0, 0.1, 0.09], [0, 0, 0.09, 0.1]])
    pool = np.concatenate([pool, [[0], [0], [1], [1]]], axis=1)  # the fifth direction is no target's
    found = signal(BIDS(epochs=1), [pool], [np.eye(4, 5)], "aabb")
    cos = pool[:, :4] / np.linalg.norm(pool, axis=1, keepdims=True)
    want = {
        "task_max": np.maximum(cos[:, :2].mean(axis=1), cos[:, 2:].mean(axis=1)),
        "sum": cos.sum(axis=1),
        "instance_max": cos.max(axis=1),
    }
    two, rng = Budget.parse(2).limit(np.ones(4)), np.random.default_rng(0)
    for rule, scores in want.items():
        method = BIDS(epochs=1, rule=rule, normalise=False)
        assert method.score(found).values == pytest.approx(scores, abs=1e-6)
        assert sorted(method.choose(found, None, two, rng).index.tolist()) == [0, 1]
        assert method.score(found).values != pytest.approx(BIDS(epochs=1, rule=rule).score(found).values, abs=1e-3)
    assert LESS(epochs=1).score(found).values == pytest.approx(want["task_max"], abs=1e-6)
    assert np.isnan(BIDS(epochs=1).score(found).values).all()
    assert sorted((BIDS(epochs=1).choose(found, None, two, rng).index // 2).tolist()) == [0, 1]


def test_a_warm_up_too_short_for_its_checkpoints_says_so(files, tiny, tmp_path):
    with pytest.raises(InputError, match="4 checkpoints were asked for, but the training takes only 1 step;"):
        score(files[0], LESS(), model=tiny, target=files[1], engine=Engine(store=Store(tmp_path / "store")))


def test_rows_of_the_target_s_kind_score_higher(base4m, tmp_path):
    """On the sample pool, with the embedded model: sums by steps for sums by steps."""
    sample = base4m.parents[1] / "sample"
    whole, dev = read_pool(sample / "pool.parquet"), read_pool(sample / "dev.parquet")
    kinds = ("arith-steps", "review-labels")
    pool = whole.take(np.sort(np.concatenate([[i for i, s in enumerate(whole.sources) if s == kind][:20] for kind in kinds])))
    target = dev.take(np.array([i for i, source in enumerate(dev.sources) if source == kinds[0]][:6]))
    method = LESS(warmup=0.5, epochs=1, batch_tokens=512, projection="sparse", dimensions=1024)
    frame = score(pool, method, model=base4m, target=target, engine=Engine(store=Store(tmp_path / "store"))).frame
    column = next(name for name in frame.columns if name.startswith("less"))
    same, other = (frame.filter(frame["source"] == kind)[column].to_numpy() for kind in kinds)
    assert len(same) == len(other) == 20
    assert (same[:, None] > other).mean() > 0.65  # by chance 0.5
