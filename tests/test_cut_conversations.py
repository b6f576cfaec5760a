"""Conversations that lose tokens to the limit are counted and said, whichever verb reads them."""

import json

import pytest

import curate
from curate.engine import Engine
from curate.lm.encode import encode_rows
from curate.lm.models import load_tokenizer
from curate.preparation import as_pool
from curate.report.inspection import inspect_pool
from curate.report.terminal import show_evaluation, show_selection
from curate.store import Store
from curate.training.config import TrainConfig

LIMIT = 30


@pytest.fixture
def engine(tmp_path):
    """A new one at each call, on one store. max_length: of conversations."""
    return lambda max_length=LIMIT: Engine(store=Store(tmp_path / "store"), device="cpu", max_length=max_length)


@pytest.fixture
def longer(tiny):
    """How many conversations of a file have more tokens than the limit."""
    tokenizer = load_tokenizer(tiny)

    def count(file):
        pool = as_pool(file)
        rows = encode_rows(tokenizer, [(pool.messages(i), None) for i in range(len(pool))], 10_000)
        return sum(len(row.input_ids) > LIMIT for row in rows)

    return count


def test_a_selection_and_scores_count_them(engine, longer, small_pool, make_pool, tiny, base4m, tmp_path):
    cut = longer(small_pool)
    assert 1 < cut < 24
    said = f"{cut} conversations of the pool are cut at 30 tokens for tiny"
    picked = curate.select(small_pool, "perplexity", budget=5, model=tiny, engine=engine())
    assert picked.summary["rows_truncated"] == cut and picked.manifest["notes"] == [said]
    assert said in str(show_selection(picked.summary, None, picked.manifest["notes"]))
    picked.write(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["counts"]["rows_truncated"] == cut

    scores = curate.score(small_pool, "perplexity", model=tiny, engine=engine())
    assert scores.counts["rows_truncated"] == scores.manifest["counts"]["rows_truncated"] == cut
    assert scores.manifest["notes"] == [said]
    seen = curate.observe(small_pool, ["tokens"], model=tiny, engine=engine())
    assert seen.manifest["counts"]["rows_truncated"] == cut and seen.manifest["notes"] == [said]
    assert (seen.frame["tokens"] == LIMIT).sum() >= cut
    vectors = curate.embed(small_pool, "hidden", model=tiny, engine=engine())
    assert vectors.counts["rows_truncated"] == cut and vectors.notes == [said]
    assert curate.embed(small_pool, "tfidf", model=tiny, engine=engine()).counts["rows_truncated"] == 0
    inspected = inspect_pool(as_pool(small_pool), str(tiny), {"device": "cpu", "max_length": LIMIT}, tmp_path / "store", 0)
    assert inspected.summary["rows_truncated"] == cut

    target = make_pool([1003], "target.jsonl")  # four sentences
    two = curate.select(small_pool, "delift", budget=5, model=tiny, scorer_model=base4m, target=target, engine=engine())
    assert two.manifest["notes"][:3] == [
        said, said.replace("tiny", "base-4m"), "1 conversation of the target is cut at 30 tokens for base-4m"
    ]  # fmt: skip


def test_nothing_is_said_where_none_is_cut(engine, small_pool, tiny):
    picked = curate.select(small_pool, "longest", budget=5, model=tiny, engine=engine(None))
    assert picked.summary["rows_truncated"] == 0 and picked.manifest["notes"] == []


def test_a_training_and_an_evaluation_count_them(engine, longer, small_pool, make_pool, tiny, tmp_path):
    cut = longer(small_pool)
    account = curate.train(small_pool, out=tmp_path / "tuned", model=tiny, recipe=TrainConfig(steps=1), engine=engine())
    assert account["rows_truncated"] == cut and account["notes"] == [
        f"{cut} conversations of the pool are cut at 30 tokens for tiny"
    ]
    kept = json.loads((tmp_path / "tuned" / "training.json").read_text())
    assert (kept["rows_truncated"], kept["notes"]) == (cut, account["notes"])
    dev = make_pool(range(100, 110), "dev.jsonl")
    found = curate.evaluate({"dev": dev}, model=tiny, engine=engine())
    said = f"{longer(dev)} conversations of the eval dev are cut at 30 tokens for tiny"
    assert found.manifest["notes"] == [said] and said in "".join(map(str, show_evaluation(found).renderables))


def test_a_verdict_says_so(engine, longer, make_pool, tiny):
    pool, dev = make_pool(range(40)), make_pool(range(100, 108), "dev.jsonl")
    verdict = curate.compare(
        pool, [], budgets=["20%"], evals={"dev": dev}, model=tiny, seeds=1, tokens=200, full=False,
        recipe=TrainConfig(batch_tokens=100), engine=engine(),
    )  # fmt: skip
    said = [
        f"{longer(file)} conversations of the {name} are cut at 30 tokens for tiny"
        for file, name in ((pool, "pool"), (dev, "eval dev"))
    ]
    assert all(verdict.remarks.count(f"{text}.") == 1 and text in verdict.manifest["notes"] for text in said)
    assert verdict.manifest["rows_truncated"] == longer(pool)
