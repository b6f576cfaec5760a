"""What a selection of tokens exports is what trainers learn from: input_ids and labels, nothing else needed."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

import curate
from curate.lm.encodings import Encodings
from curate.lm.models import ModelSpec
from curate.pool.trainers import axolotl_tokens_yaml
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


def test_axolotl_is_given_the_very_columns_that_it_asks_for(folder, tiny):
    """Its documented form of pre-tokenised data: an empty type, input_ids, attention_mask and labels, nothing else."""
    config = yaml.safe_load((folder / "axolotl.yaml").read_text())
    [data] = config["datasets"]
    assert config["base_model"] == str(tiny)  # which chose the tokens
    assert data == {"path": "tokens.axolotl.parquet", "ds_type": "parquet", "type": None}
    table, tokens = pq.read_table(folder / data["path"]), pq.read_table(folder / "tokens.parquet")
    assert table.column_names == ["input_ids", "attention_mask", "labels"]
    assert table["input_ids"].equals(tokens["input_ids"]) and table["labels"].equals(tokens["labels"])
    lengths = [len(ids) for ids in table["input_ids"].to_pylist()]
    assert table["attention_mask"].to_pylist() == [[1] * length for length in lengths]
    assert config["sequence_len"] >= max(lengths)


def test_no_file_would_learn_from_whole_replies(folder):
    """Neither LLaMA-Factory's, which has no form for chosen tokens, nor the messages for another trainer."""
    assert not (folder / "dataset_info.json").exists() and not (folder / "data.messages.jsonl").exists()
    card = (folder / "README.md").read_text()
    assert "There is no `dataset_info.json`, for LLaMA-Factory reads conversations" in card
    assert "tokens.axolotl.parquet" in card and "best first" not in card


def test_a_row_longer_than_usual_is_not_cut():
    config = yaml.safe_load(axolotl_tokens_yaml("tokens.axolotl.parquet", "org/model", 5000))
    assert (config["sequence_len"], config["base_model"]) == (5000, "org/model")
