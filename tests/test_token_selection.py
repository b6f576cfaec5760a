"""A method that chooses tokens: what is written, and that trainings count those tokens alone."""

import numpy as np
import pyarrow.parquet as pq
import pytest

import curate
from curate.engine import Engine
from curate.errors import InputError
from curate.lm.models import ModelSpec
from curate.method import Method
from curate.preparation import as_pool
from curate.selectors.top_k import top_k
from curate.signals import RowScore
from curate.store import Store
from curate.training.config import TrainConfig

QUICK = TrainConfig(adapter="none", learning_rate=1e-2, batch_tokens=256)


class FirstHalf(Method):
    """The first rows, and of each reply its first half (rounded up)."""

    name = "first-half"
    paper = "a test"
    cost = "free"

    def signal(self, data, seen, rng):
        return RowScore.of(-np.arange(data.pool.size, dtype=float))

    def choose(self, signal, table, limit, rng):
        picks = top_k(signal.values, limit)
        lengths = table["response_tokens"].to_numpy()[picks.index]
        return type(picks)(**{**vars(picks), "tokens": [np.float32(np.arange(n) < (n + 1) // 2) for n in lengths]})


@pytest.fixture
def engine(tmp_path):
    return Engine(store=Store(tmp_path / "store"))


@pytest.fixture
def picked(small_pool, tiny, engine, tmp_path):
    selection = curate.select(small_pool, FirstHalf(), budget=6, model=tiny, engine=engine)
    selection.write(tmp_path / "picked")
    return selection, tmp_path / "picked"


def test_a_selection_of_tokens_is_written_as_trainers_take_it(picked, tiny, engine):
    selection, folder = picked
    table = pq.read_table(folder / "tokens.parquet").to_pylist()
    assert [row["row_id"] for row in table] == selection.frame["row_id"].to_list()
    _, rows, _ = engine.add("pool", selection.pool, ModelSpec(str(tiny)))
    encodings = engine.encodings(ModelSpec(str(tiny)), rows)
    for row in table:
        i = encodings.row_ids.index(row["row_id"])
        reply = np.flatnonzero(encodings.loss_mask[i])
        kept = reply[: (len(reply) + 1) // 2]
        assert row["input_ids"] == encodings.input_ids[i].tolist()
        assert [at for at, label in enumerate(row["labels"]) if label != -100] == kept.tolist()
        assert all(row["labels"][at] == row["input_ids"][at] for at in kept)
    counts = selection.summary
    assert counts["kept_reply_tokens"] == sum(sum(label != -100 for label in row["labels"]) for row in table)
    assert counts["kept_reply_tokens"] < counts["reply_tokens"]
    from datasets import load_dataset

    cache = str(folder.parent / "cache")
    assert load_dataset(str(folder), "tokens", split="train", cache_dir=cache)[0]["labels"] == table[0]["labels"]
    assert "messages" in load_dataset(str(folder), split="train", cache_dir=cache).column_names


def test_the_script_for_trl_reads_the_tokens(picked, tiny):
    _, folder = picked
    script = (folder / "train_trl.py").read_text()
    compile(script, "train_trl.py", "exec")
    assert '"tokens.parquet"' in script and str(tiny) in script and "data.jsonl" not in script


def test_trainings_on_it_count_those_tokens_alone(picked, tiny, engine, tmp_path):
    selection, folder = picked
    account = curate.train(as_pool(folder), out=tmp_path / "trained", model=tiny, recipe=QUICK, engine=engine)
    assert account["loss_tokens"] == selection.summary["kept_reply_tokens"]
    labels = as_pool(folder).labels
    assert labels.fingerprint == selection.labels.fingerprint
    whole = curate.train(
        as_pool(folder).with_labels(None), out=tmp_path / "whole", model=tiny, recipe=QUICK, engine=engine
    )  # fmt: skip
    assert whole["loss_tokens"] == selection.summary["reply_tokens"]


def test_a_part_of_it_keeps_its_tokens(picked, tiny, engine):
    """A selection of rows out of a selection of tokens."""
    selection, folder = picked
    again = curate.select(folder, "longest", budget=3, model=tiny, engine=engine)
    rows = {row_id: selection.labels.rows[row_id] for row_id in again.frame["row_id"]}
    assert again.labels.rows.keys() == rows.keys()
    assert all(np.array_equal(again.labels.rows[row_id][1], rows[row_id][1]) for row_id in rows)
    thinner = curate.select(folder, FirstHalf(), budget=3, model=tiny, engine=engine)
    assert 0 < thinner.summary["kept_reply_tokens"] <= sum(int(weights.sum()) for _, weights in thinner.labels.rows.values())
    assert all((thinner.labels.rows[k][1] <= selection.labels.rows[k][1]).all() for k in thinner.labels.rows)


def test_another_tokenizer_is_refused(picked, tiny, engine, tmp_path):
    """Here the same tokenizer that cuts rows shorter."""
    _, folder = picked
    short = Engine(store=Store(tmp_path / "other"), max_length=16)
    with pytest.raises(InputError, match="chosen by another tokenizer"):
        curate.train(as_pool(folder), out=tmp_path / "trained", model=tiny, recipe=QUICK, engine=short)


def test_a_comparison_trains_on_the_chosen_tokens(small_pool, make_pool, tiny, engine):
    held_out = make_pool(range(100, 110), "held_out.jsonl")
    asked = {"budgets": [6], "evals": held_out, "seeds": 2, "tokens": 400, "model": tiny, "engine": engine, "recipe": QUICK}
    verdict = curate.compare(small_pool, [FirstHalf()], full=False, **asked)
    rows = {row["method"]: row for row in verdict.frame.iter_rows(named=True)}
    assert rows["first-half"]["train_tokens"] == pytest.approx(rows["random"]["train_tokens"], rel=0.2)
    assert rows["first-half"]["loss_tokens"] < 0.75 * rows["random"]["loss_tokens"]


def test_a_damaged_file_of_tokens_is_one_sentence(picked):
    _, folder = picked
    (folder / "tokens.parquet").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read"):
        as_pool(folder)
