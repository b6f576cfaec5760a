"""What a selection of tokens exports is what trainers learn from: input_ids and labels, nothing else needed."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

import curate
from curate.lm.encodings import Encodings
from curate.lm.models import ModelSpec
from curate.preparation import as_pool
from curate.training.config import TrainConfig
from curate.training.trainer import train
from scorers.token_cleaning import TokenCleaning

ONE_BATCH = TrainConfig(adapter="none", steps=1, batch_tokens=100_000)


@pytest.fixture
def folder(small_pool, tiny, tmp_path):
    engine = curate.Engine(store=curate.Store(tmp_path / "store"))
    picked = curate.select(small_pool, TokenCleaning(), budget=8, model=tiny, engine=engine)
    picked.write(tmp_path / "picked")
    return tmp_path / "picked"


@pytest.fixture
def loss_by_weights(folder, tiny, tmp_path):
    """Of the first step on all rows at once, by our trainer, which reads the conversations and the weights of their tokens."""
    engine, spec = curate.Engine(store=curate.Store(tmp_path / "store")), ModelSpec(str(tiny))
    _, rows, _ = engine.add("pool", as_pool(folder), spec)
    encodings = engine.encodings(spec, rows)
    model = AutoModelForCausalLM.from_pretrained(tiny)
    run = train(model, None, encodings, steps_of(encodings), weights=encodings.token_weights())
    return run.losses[0]


def steps_of(encodings):
    return ONE_BATCH.model_copy(update={"batch_tokens": int(encodings.lengths.sum())})


def test_labels_alone_give_the_same_loss(folder, tiny, loss_by_weights):
    rows = pq.read_table(folder / "tokens.parquet").to_pylist()
    ids = [np.array(row["input_ids"], np.int32) for row in rows]
    masks = [np.array(row["labels"]) != -100 for row in rows]
    assert all(np.array_equal(np.array(row["labels"])[mask], one[mask]) for row, one, mask in zip(rows, ids, masks, strict=True))
    encodings = Encodings([row["row_id"] for row in rows], ids, masks, np.zeros(len(rows), bool))
    run = train(AutoModelForCausalLM.from_pretrained(tiny), None, encodings, steps_of(encodings))
    assert run.losses[0] == pytest.approx(loss_by_weights, abs=1e-5)


def test_trl_takes_it_as_it_is(folder, tiny, loss_by_weights, tmp_path):
    """Its first step is on all rows at once, and its loss is ours; nothing is tokenised again."""
    trl = pytest.importorskip("trl", reason="trl is not installed")
    from datasets import load_dataset

    data = load_dataset("parquet", data_files=str(folder / "tokens.parquet"), split="train", cache_dir=str(tmp_path / "cache"))
    settings = {"output_dir": str(tmp_path / "trl"), "max_steps": 1, "per_device_train_batch_size": len(data), "use_cpu": True}
    quiet = {"report_to": "none", "save_strategy": "no", "logging_steps": 1, "disable_tqdm": True, "bf16": False}
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    trainer = trl.SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(tiny),
        args=trl.SFTConfig(**settings, **quiet),
        train_dataset=data,
        processing_class=tokenizer,
    )
    trainer.train()
    [loss] = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert loss == pytest.approx(loss_by_weights, abs=1e-4)
