"""What an arm is known by in the store, and what it keeps of each item."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

import curate
import curate.models
from curate.comparison.arms import Arm, Bench
from curate.evaluation.results import ITEMS, EvalResult
from curate.evaluation.tasks import EVALUATE_VERSION, Task
from curate.plan import merge
from curate.pool import read_pool
from curate.preparation import as_model, as_pool, hold_out
from curate.requests import Fit
from curate.training.config import TRAIN_VERSION, TrainConfig

UNTRAINED = Arm("untrained", "0", 0, (), None)


@pytest.fixture
def bench(tmp_path, tiny, small_pool):
    """A bench of an engine with its own store, for these tasks."""
    engine, spec = curate.Engine(store=curate.Store(tmp_path / "store"), device="cpu"), as_model(tiny)

    def make(*tasks):
        _, rows, _ = engine.add("pool", as_pool(small_pool), spec)
        held = [hold_out(engine, task, spec) for task in tasks]
        return Bench(engine, spec, rows, [(one.task, one.rows) for one in held], np.ones(rows.size, dtype=np.int64))

    return make


def test_the_address_of_losses_and_exact_matches_is_that_of_old(bench, make_pool):
    pool = as_pool(make_pool(range(100, 105), name="dev.jsonl"))
    made = bench(Task("dev", pool), Task("sums", pool, "exact_match", "gsm8k", 4))
    assert made.spec(UNTRAINED) == {
        "kind": "arm",
        "version": [TRAIN_VERSION, EVALUATE_VERSION],
        "model": made.engine.model_hash(made.model),
        "encoding": made.engine.encoding_spec(made.model),
        "recipe": None,
        "rows": made.spec(UNTRAINED)["rows"],
        "tasks": [["dev", "response_loss", pool.fingerprint], ["sums", "exact_match", pool.fingerprint, "gsm8k", 4]],
    }


def test_an_arm_keeps_what_the_model_said(bench, make_pool, tmp_path):
    (tmp_path / "mc.jsonl").write_text(json.dumps({"question": "2+2?", "choices": ["5", "4"], "answer": 1}))
    dev, choices = as_pool(make_pool(range(100, 103), name="dev.jsonl")), read_pool(tmp_path / "mc.jsonl")
    tasks = (Task("dev", dev), Task("said", dev, "f1", max_new_tokens=3), Task("mc", choices, "multiple_choice"))
    found = bench(*tasks).run(UNTRAINED)
    said = {task: part["prediction"] for [task], part in found.items.group_by("task")}
    assert said["dev"].null_count() == 3 and said["said"].null_count() == 0 and said["mc"][0] in ("5", "4")
    assert found.values("mc")[0] == (said["mc"][0] == "4") and len(found.values("dev")) == 3
    assert found.account["evaluate_tokens"] > 0


def test_arms_of_old_are_read(bench, make_pool, tmp_path, monkeypatch):
    """They have no predictions."""
    made, items = bench(Task("dev", as_pool(make_pool(range(100, 103), name="dev.jsonl")))), EvalResult.items
    with monkeypatch.context() as then:
        then.setattr(EvalResult, "items", lambda result: items(result).drop("prediction"))
        old = made.run(UNTRAINED).items
    [file] = (tmp_path / "store" / "arms").glob("*/items.parquet")
    assert "prediction" not in pl.read_parquet(file).columns
    assert old.schema == ITEMS and old["prediction"].null_count() == 3 and old["value"].null_count() == 0
    assert made.run(UNTRAINED).items.equals(old)


def test_adapters_learned_over_coarse_weights_are_measured_over_the_full_ones(bench, make_pool, monkeypatch):
    """As the untrained model is, and the arms trained in float32; only the address of what was rounded changes."""
    made = bench(Task("dev", as_pool(make_pool(range(100, 103), name="dev.jsonl"))))
    trained, real = [], made.engine.train

    def train(*given, **more):
        result = real(*given, **more)
        layers = {name: module for name, module in result.model.named_modules() if hasattr(module, "get_delta_weight")}
        trained.append({name: module.get_delta_weight("default").float() for name, module in layers.items()})
        return result

    monkeypatch.setattr(made.engine, "train", train)
    exact = Arm("some", "20%", 0, (0, 1, 2), TrainConfig(steps=2, batch_tokens=64, lora_r=2, learning_rate=1e-2))
    half = replace(exact, recipe=exact.recipe.model_copy(update={"dtype": "bfloat16"}))
    start, network = made.engine.load_plain(made.model), made.work(half).trained(made.engine)[0]
    weights = dict(network.named_parameters())
    assert not hasattr(network, "peft_config") and {weight.dtype for weight in weights.values()} == {torch.float32}
    assert any(not torch.equal(weight, weight.bfloat16().float()) for weight in weights.values())
    [deltas] = trained
    deltas = {name.removeprefix("base_model.model.") + ".weight": delta for name, delta in deltas.items()}
    for name, before in start.named_parameters():
        torch.testing.assert_close(weights[name], before + deltas.pop(name, 0), atol=1e-6, rtol=1e-5)
    assert not deltas
    assert set(made.spec(half)) - set(made.spec(exact)) == {"evaluated"}


def test_a_fit_with_rounded_weights_is_not_taken_for_an_arm(bench, make_pool):
    made = bench(Task("dev", as_pool(make_pool(range(100, 103), name="dev.jsonl"))))
    for dtype, served in (("float32", True), ("bfloat16", False)):
        recipe = TrainConfig(steps=1, batch_tokens=64, lora_r=2, dtype=dtype)
        made.engine.execute(merge([Fit(made.model, made.rows, recipe)]))
        before = len(made.engine.stages)
        made.run(Arm("full", "100%", 0, tuple(range(made.rows.size)), recipe))
        assert ("train" in {stage.kind for stage in made.engine.stages[before:]}) != served


def test_the_width_is_told_without_loading_the_model(bench, monkeypatch):
    made = bench()
    want = made.engine.load_plain(made.model).get_input_embeddings().weight.shape[1]
    monkeypatch.setattr(curate.models, "load_model", None)
    assert made.width() == want == 32
