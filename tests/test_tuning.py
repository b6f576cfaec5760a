"""Fine-tuning a pool into a folder."""

import json

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
