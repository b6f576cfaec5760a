"""What an arm is known by in the store, and what it keeps of each item."""

import json

import numpy as np
import polars as pl
import pytest

import curate
from curate.comparison.arms import Arm, Bench
from curate.evaluation.results import ITEMS, EvalResult
from curate.evaluation.tasks import EVALUATE_VERSION, Task
from curate.pool import read_pool
from curate.preparation import as_model, as_pool, hold_out
from curate.training.config import TRAIN_VERSION

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
