"""Fine-tuning a pool into a folder."""

import contextlib
import json

import numpy as np
import pytest

import curate
from curate.errors import InputError
from curate.preparation import as_pool
from curate.training.config import TrainConfig


@pytest.fixture
def engine(tmp_path):
    return curate.Engine(store=curate.Store(tmp_path / "store"), device="cpu")


def test_what_is_trained_loads_and_has_learned(engine, make_pool, tiny, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    pool, held_out = make_pool(range(40)), make_pool(range(100, 110), name="dev.jsonl")
    recipe = TrainConfig(epochs=4, adapter="none", learning_rate=1e-2, batch_tokens=256)
    account = curate.train(pool, out=tmp_path / "model", model=tiny, recipe=recipe, engine=engine)
    tokens = int(engine.encodings(*handle(engine, pool, tiny)).lengths.sum())
    assert account["rows"] == account["rows_in"] == 40 and account["rows_rejected"] == 0 and account["epochs"] == pytest.approx(4)
    assert account["tokens"] == 4 * tokens and 0 < account["loss_tokens"] < account["tokens"]
    assert account["last_loss"] < account["first_loss"] and account["seconds"] > 0 and account["flops"] > 0

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(tmp_path / "model")
    assert model.num_parameters() > 0
    kept = json.loads((tmp_path / "model" / "training.json").read_text())
    assert kept["recipe"]["epochs"] == 4 and kept["tokens"] == account["tokens"] and "torch" in kept["versions"]

    before, after = (
        curate.evaluate(held_out, model=folder, engine=engine).frame["value"][0] for folder in (tiny, tmp_path / "model")
    )
    assert after < before - 1


def handle(engine, pool, model):
    from curate.preparation import as_model

    spec = as_model(model)
    return spec, engine.add("pool", as_pool(pool), spec)[1]


def test_a_full_output_folder_is_refused_before_anything_runs(engine, small_pool, tiny, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("1")
    monkeypatch.setattr(curate.Engine, "train", lambda *a, **k: pytest.fail("it must not train"))
    with pytest.raises(InputError, match="not empty"):
        curate.train(small_pool, out=tmp_path / "out", model=tiny, engine=engine)


def test_a_training_that_fails_leaves_nothing(engine, small_pool, tiny, tmp_path, monkeypatch):
    def fail(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(curate.Engine, "train", fail)
    with pytest.raises(OSError, match="No space"):
        curate.train(small_pool, out=tmp_path / "out", model=tiny, engine=engine)
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))


def test_a_training_that_was_stopped_is_gone_on_with(engine, small_pool, tiny, tmp_path, monkeypatch):
    """The same call does, and ends with the same bits as one that was let be."""
    from safetensors.numpy import load_file

    recipe = TrainConfig(steps=8, batch_tokens=64, lora_r=2, save_checkpoints=2, save_optimizer=True, checkpoint_steps=3)
    curate.train(small_pool, out=tmp_path / "whole", model=tiny, recipe=recipe, engine=engine)
    steps = []

    def stop(now):
        steps.append(now)
        if len(steps) == 5:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def task(name, total=None, unit="rows"):
        yield stop if unit == "steps" else lambda done: None

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("curate.fitting.progress.task", task)
        curate.train(small_pool, out=tmp_path / "out", model=tiny, recipe=recipe, engine=engine)
    assert not (tmp_path / "out").exists() and (tmp_path / "out.unfinished" / "states" / "step-3").is_dir()
    with pytest.raises(InputError, match="other settings"):
        curate.train(small_pool, out=tmp_path / "out", model=tiny, recipe=recipe.model_copy(update={"seed": 1}), engine=engine)
    steps.clear()
    with monkeypatch.context() as patch:
        patch.setattr("curate.fitting.progress.task", task)
        steps.extend([0] * 5)  # it will not stop again
        curate.train(small_pool, out=tmp_path / "out", model=tiny, recipe=recipe, engine=engine)
    assert len(steps) == 5 + 5 and not (tmp_path / "out.unfinished").exists()
    assert sorted(path.name for path in (tmp_path / "out").glob("checkpoint-*")) == ["checkpoint-4", "checkpoint-8"]
    for file in [*(tmp_path / "whole").rglob("*.safetensors")]:
        one, other = load_file(file), load_file(tmp_path / "out" / file.relative_to(tmp_path / "whole"))
        assert one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)
