"""Gradients of rows through the engine: the right vectors, kept row by row, at checkpoints and on a plain model."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import curate.lm.gradients
import curate.work.gradients
from curate import Engine, Store
from curate.errors import CurateError, InputError
from curate.estimate import Calibration, estimate
from curate.lm.gradient_config import Adam, FreshAdapters, GradientConfig
from curate.lm.models import ModelSpec, parameter_count
from curate.plan import describe, gradient_name, merge
from curate.preparation import as_pool, prepare
from curate.report.store import listing
from curate.requests import Checkpoint, Fit, Gradients, Observe, Rows, Subset
from curate.training.adapters import fresh_adapters
from curate.training.checkpoints import read_adapted, read_optimizer
from curate.training.config import TrainConfig

RECIPE = TrainConfig(
    lora_r=2, target_modules=("q_proj", "v_proj"), batch_tokens=256, epochs=2, learning_rate=1e-2, lora_dropout=0.1,
    save_checkpoints=2, save_optimizer=True,
)  # fmt: skip
WHOLE = GradientConfig(projection="none")
FRESH = FreshAdapters(r=4, target_modules=("q_proj", "v_proj"))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def ready(store, small_pool, tiny):
    """An engine on the store, with the small pool or another: (engine, rows, model)."""

    def ready(pool=small_pool, **settings):
        engine = Engine(store=store, **settings)
        prepared = prepare(engine, as_pool(pool), model=ModelSpec(str(tiny)))
        return engine, prepared.rows, prepared.data.model

    return ready


def at(model, rows, number=1, config=WHOLE, on=None):
    return Gradients(Checkpoint(Fit(model, on or rows, RECIPE), number), rows, config)


def one_by_one(network, encodings):
    """float64 [n, P]: the gradient of the model's own loss on each row, by names in order."""
    names = sorted(name for name, _ in network.named_parameters() if ".lora_" in name)
    weights = dict(network.named_parameters())
    found = []
    for ids, mask in zip(encodings.input_ids, encodings.loss_mask, strict=True):
        labels = torch.tensor(np.where(mask, ids, -100), dtype=torch.int64)[None]
        loss = network(input_ids=torch.tensor(ids, dtype=torch.int64)[None], labels=labels).loss
        found.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, [weights[name] for name in names])]))
    return torch.stack(found).double(), names


def close(found, want, tolerance=1e-4):
    np.testing.assert_allclose(found, want, rtol=0, atol=tolerance * np.abs(np.asarray(want)).max())


@pytest.mark.parametrize("number", [1, 2])
def test_at_a_checkpoint_they_are_of_its_own_adapters(ready, number):
    engine, rows, model = ready()
    request, other = at(model, rows, number), at(model, rows, 3 - number)
    engine.execute(merge([request, other]))
    folder = engine.folder(request.model)
    network = read_adapted(AutoModelForCausalLM.from_pretrained(model.folder(), dtype=torch.float32), folder).eval()
    want, names = one_by_one(network, engine.encodings(model, rows))
    found = engine.answer(request)
    assert found.values.shape == want.shape == (24, 2 * 2 * 2 * (32 + 32)) and found.values.dtype == np.float32
    close(found.values, want)
    assert not found.is_null.any() and np.abs(found.values - engine.answer(other).values).max() > 1e-4

    adam = replace(request, config=GradientConfig(projection="none", adam=Adam()))
    engine.execute(merge([adam]))
    state = read_optimizer(folder)
    m, v = (torch.cat([state[name][key].flatten() for name in names]).double() for key in ("exp_avg", "exp_avg_sq"))
    assert m.abs().max() > 0 and v.max() > 0
    close(engine.answer(adam).values, (0.9 * m + 0.1 * want) / (0.999 * v + 0.001 * want**2 + 1e-8).sqrt())


def test_they_are_projected_and_may_be_kept_in_half_precision(ready):
    engine, rows, model = ready()
    short = GradientConfig(dimensions=96)
    configs = [WHOLE, short, short.model_copy(update={"dtype": "float16"}), GradientConfig(projection="sparse", dimensions=96)]
    requests = [at(model, rows, config=config) for config in configs]
    engine.execute(merge(requests))
    whole, dense, half, sparse = (engine.answer(request).values for request in requests)
    assert dense.shape == half.shape == sparse.shape == (24, 96)
    from curate.lm.projection import make_projection

    close(dense, make_projection("rademacher", 512, 96)(torch.tensor(whole)))
    close(sparse, make_projection("sparse", 512, 96)(torch.tensor(whole)))
    close(half, dense / np.linalg.norm(dense, axis=1, keepdims=True), 1e-3)
    assert half.dtype == np.float32 and np.array_equal(half, half.astype(np.float16))


def test_they_may_be_kept_in_fewer_bits(ready, store):
    engine, rows, model = ready()
    whole = GradientConfig(dimensions=96)
    requests = [at(model, rows, config=whole.model_copy(update={"dtype": dtype})) for dtype in ("float32", "int8", "1bit")]
    engine.execute(merge(requests))
    exact, fine, coarse = (engine.answer(request).values for request in requests)
    largest = np.abs(exact).max(axis=1, keepdims=True)
    assert 0 < (np.abs(fine - exact) / largest).max() < 0.501 / 127
    assert np.array_equal(np.sign(coarse), np.sign(exact))
    np.testing.assert_allclose(np.linalg.norm(coarse, axis=1), np.linalg.norm(exact, axis=1), rtol=1e-5)


@pytest.mark.parametrize("adam", [None, Adam(), Adam(eps_place="outside", bias_correction=True)])
def test_a_sketch_made_layer_by_layer_is_that_of_the_whole(ready, adam):
    from curate.lm.projection import make_projection

    engine, rows, model = ready()
    whole = at(model, rows, config=GradientConfig(projection="none", adam=adam))
    short = at(model, rows, config=GradientConfig(projection="sketch", dimensions=96, adam=adam))
    engine.execute(merge([whole, short]))
    close(engine.answer(short).values, make_projection("sketch", 512, 96)(torch.tensor(engine.answer(whole).values)))


def test_what_waits_to_be_projected_is_bounded(ready, monkeypatch):
    engine, rows, model = ready()
    request = at(model, rows)
    engine.execute(merge([request]))
    network, moments = curate.work.gradients.adapted(engine, request)
    encodings = engine.encodings(model, rows)
    monkeypatch.setitem(curate.work.gradients.PROJECTED_NUMBERS, "cpu", 5 * 512)
    found = dict(curate.work.gradients.projected(network, encodings, WHOLE, moments, batch_tokens=64))
    assert sorted(found) == list(range(24))
    close([found[i] for i in range(24)], engine.answer(request).values)


def test_fresh_adapters_are_made_without_a_warning(tiny):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh_adapters(AutoModelForCausalLM.from_pretrained(tiny), FreshAdapters())


def test_fresh_adapters_are_drawn_by_seed_and_scaled(tiny):
    def make(**settings):
        return fresh_adapters(AutoModelForCausalLM.from_pretrained(tiny), FreshAdapters(**settings))

    one, again, other = make(), make(), make(seed=1)
    a = {name: weight for name, weight in one.named_parameters() if ".lora_A." in name}
    assert len(a) == 2 * 4 and all(weight.shape == (32, 32) for weight in a.values())  # 512 is cut to the model's 32
    assert all(torch.equal(weight, dict(again.named_parameters())[name]) for name, weight in a.items())
    assert all((weight - dict(other.named_parameters())[name]).abs().max() > 0.01 for name, weight in a.items())
    values = torch.cat([weight.flatten() for weight in a.values()])
    assert float(values.std()) == pytest.approx(1 / 32, rel=0.05) and abs(float(values.mean())) < 2e-3
    assert not torch.equal(*list(a.values())[:2])
    assert one.peft_config["default"].lora_alpha == pytest.approx(32**1.5)
    assert {name for name, weight in one.named_parameters() if weight.requires_grad} == {
        name for name, _ in one.named_parameters() if ".lora_B." in name
    }
    with pytest.raises(InputError, match="target_modules: no linear layer"):
        make(target_modules=("nothing",))


def test_the_scale_of_fresh_adapters_keeps_distances_whatever_the_rank(ready):
    """Gradients of B are s A x g^T: with alpha = r sqrt r their inner products are those of x g^T on average."""
    engine, rows, model = ready()

    def norm(**fresh):
        config = GradientConfig(parameters="lora_b", projection="none", fresh=FreshAdapters(target_modules=("q_proj",), **fresh))
        request = Gradients(model, rows, config)
        engine.execute(merge([request]))
        return np.linalg.norm(engine.answer(request).values, axis=1)

    small, large = norm(r=8), norm(r=32)
    np.testing.assert_allclose(small / large, 1, atol=0.4)
    assert abs(float(np.mean(small / large)) - 1) < 0.2
    assert np.mean(norm(r=8, alpha=8.0) / large) < 0.5


def test_a_plain_model_with_fresh_adapters(ready):
    engine, rows, model = ready()
    request = Gradients(model, rows, GradientConfig(parameters="lora_b", projection="none", fresh=FRESH))
    engine.execute(merge([request]))
    network = fresh_adapters(AutoModelForCausalLM.from_pretrained(model.folder(), dtype=torch.float32), FRESH)
    network.requires_grad_(True)
    want, names = one_by_one(network, engine.encodings(model, rows))
    stops = np.cumsum([dict(network.named_parameters())[name].numel() for name in names])
    of_b = np.concatenate([np.arange(a, b) for name, a, b in zip(names, [0, *stops], stops) if ".lora_B." in name])
    assert np.abs(np.delete(want, of_b, axis=1)).max() == 0  # B is 0, so A has no gradient
    close(engine.answer(request).values, want[:, of_b])


# The store ------------------------------------------------------------------------------------------------------------


def jobs(engine):
    return [(stage.computed_rows, stage.reused_rows) for stage in engine.stages if stage.kind == "gradients"]


def test_nothing_is_computed_twice(ready, make_pool, monkeypatch):
    engine, rows, model = ready(make_pool(range(24)))
    config = GradientConfig(dimensions=96, parameters="lora_b", fresh=FRESH)
    request = Gradients(model, rows, config)
    engine.execute(merge([request, request]))
    first, ids = engine.answer(request).values, list(engine.ids(rows))
    [stage] = [stage for stage in engine.stages if stage.kind == "gradients"]
    tokens = int(engine.encodings(model, rows).lengths.sum())
    assert (stage.computed_rows, stage.tokens, stage.flops) == (24, tokens, 3 * 2 * parameter_count(model.folder()) * tokens)

    engine, rows, model = ready(make_pool(range(30)))
    request = Gradients(model, rows, config)
    engine.execute(merge([request]))
    after = dict(zip(engine.ids(rows), engine.answer(request).values, strict=True))
    assert jobs(engine) == [(6, 24)] and all(np.array_equal(after[row_id], old) for row_id, old in zip(ids, first, strict=True))
    assert engine.computed_rows(rows) == 6


def test_another_setting_is_another_vector(ready):
    engine, rows, model = ready()
    folders = {
        engine.work(Gradients(model, rows, GradientConfig(fresh=fresh, **settings))).artifacts()["gradient"].folder
        for fresh in (FRESH, FreshAdapters(r=4, seed=1))
        for settings in (
            {},
            {"seed": 1},
            {"dimensions": 5},
            {"projection": "sparse"},
            {"dtype": "float16"},
            {"parameters": "lora_b"},
        )
    }
    assert len(folders) == 12


def test_a_killed_job_goes_on_with_the_same_shards(ready, monkeypatch):
    monkeypatch.setattr(curate.work.gradients, "SHARD_TOKENS", 150)
    engine, rows, model = ready()
    request = Gradients(model, rows, GradientConfig(projection="none", fresh=FRESH))
    real, shards = curate.work.gradients.projected, []

    def dying(*args, **keys):
        shards.append(len(args[1]))
        if len(shards) == 3:
            raise KeyboardInterrupt
        return real(*args, **keys)

    monkeypatch.setattr(curate.work.gradients, "projected", dying)
    with pytest.raises(KeyboardInterrupt):
        engine.execute(merge([request]))
    done = sum(shards[:2])
    monkeypatch.setattr(curate.work.gradients, "projected", real)
    engine, rows, model = ready()
    assert 0 < done < 24 and len(engine.work(request).missing()) == 24 - done
    engine.execute(merge([request]))
    assert jobs(engine) == [(24 - done, done)]
    whole = Engine(store=Store(engine.store.root / "other"))
    prepare(whole, engine.pool_of(rows), model=model)
    whole.execute(merge([request]))
    assert np.array_equal(engine.answer(request).values, whole.answer(request).values)


def test_a_row_that_fails_is_tried_again_by_another_run(ready, monkeypatch):
    engine, rows, model = ready()
    request = Gradients(model, rows, GradientConfig(projection="none", fresh=FRESH))
    real = curate.lm.gradients._batch
    bad = int(engine.encodings(model, rows).lengths.argmax())
    longest = int(engine.encodings(model, rows).lengths.max())

    def failing(model, head, where, encodings, fold):
        if encodings.lengths.max() == longest:
            raise RuntimeError("no kernel")
        return real(model, head, where, encodings, fold)

    monkeypatch.setattr(curate.lm.gradients, "_batch", failing)
    engine.execute(merge([request]))
    found = engine.answer(request)
    assert found.reasons[bad] == "the model failed on this row: no kernel" and np.isnan(found.values[bad]).all()
    assert not len(engine.work(request).missing())
    monkeypatch.setattr(curate.lm.gradients, "_batch", real)
    engine, rows, model = ready()
    assert bad in engine.work(request).missing()
    engine.execute(merge([request]))
    assert not engine.answer(request).is_null.any()


# Plans ----------------------------------------------------------------------------------------------------------------


def test_a_plan_has_the_fit_behind_a_checkpoint_and_each_request_once():
    model, rows = ModelSpec("org/base"), Rows("pool", "p" * 32, 10)
    fit = Fit(model, Subset(rows, [1, 3]), RECIPE)
    first, second = (Gradients(Checkpoint(fit, number), rows, WHOLE) for number in (1, 2))
    plan = merge([first, Observe(model, rows, "mean_loss"), second, first])
    assert plan.fits == (fit,) and plan.gradients == (first, second) and len(plan.passes) == 1
    assert gradient_name(second, 3) == (
        "gradients of 3 of the 10 rows of pool by checkpoint 2 of the fit org/base on 2 rows of pool, seed 0"
    )
    adam = replace(first, config=GradientConfig(adam=Adam()))
    assert gradient_name(adam).startswith("gradients as Adam's directions of 10 rows of pool by checkpoint 1")
    assert describe(first) == "gradients of pool by a checkpoint of (fit org/base on pool)"


def test_an_estimate_is_of_the_job_that_follows(ready):
    engine, rows, model = ready()
    plan = merge([at(model, rows, on=Subset(rows, range(8))), Gradients(model, rows, GradientConfig(fresh=FRESH))])
    fit, trained, fresh = estimate(plan, Calibration(engine))
    tokens = int(engine.encodings(model, rows).lengths.sum())
    for step in (trained, fresh):
        assert (step.rows, step.tokens, step.flops) == (24, tokens, 6 * parameter_count(model.folder()) * tokens)
        assert 0 < step.seconds < 60 and step.memory > 5e7
    assert fit.rows == 8
    engine.execute(plan)
    assert [step.rows for step in estimate(plan, Calibration(engine))] == [0, 0, 0]


def test_requests_that_cannot_be():
    model, rows = ModelSpec("org/base"), Rows("pool", "p" * 32, 10)
    plain = RECIPE.model_copy(update={"save_optimizer": False})
    for wrong in (
        (model, WHOLE),
        (model, GradientConfig(fresh=FRESH, adam=Adam())),
        (Checkpoint(Fit(model, rows, RECIPE), 1), GradientConfig(fresh=FRESH)),
        (Checkpoint(Fit(model, rows, plain), 1), WHOLE),
    ):
        with pytest.raises(ValueError):
            Gradients(wrong[0], rows, wrong[1])
    assert hash(at(model, rows)) == hash(at(model, rows)) and at(model, rows) == at(model, rows)


def test_before_the_fit_there_is_nothing_to_answer(ready):
    engine, rows, model = ready()
    with pytest.raises(CurateError, match="was asked about before it was made"):
        engine.answer(at(model, rows))


def test_the_store_says_what_they_are(ready):
    engine, rows, model = ready()
    engine.execute(merge([at(model, rows, 2), Gradients(model, rows, GradientConfig(fresh=FRESH))]))
    kept = {item["what"] for item in listing(engine.store) if item["what"].startswith("gradients")}
    assert len(kept) == 2 and any("at checkpoint 2, float32" in what for what in kept)
