"""The weight of a message counts in every training, and changes no address of rows without one."""

import dataclasses

import numpy as np
import pytest
import torch

import curate
from curate.lm.models import ModelSpec, load_model
from curate.preparation import as_pool
from curate.requests import Fit
from curate.training.config import TrainConfig

RECIPE = TrainConfig(adapter="none", batch_tokens=10_000)  # one batch of every row


@pytest.fixture
def engine(tmp_path):
    return curate.Engine(store=curate.Store(tmp_path / "store"), device="cpu")


def said(weight):
    def messages(i):
        turns = [
            ("user", f"What is {i} plus 2?"),
            ("assistant", f"It is {i + 2}."),
            ("user", "Sure?"),
            ("assistant", "Yes, I am."),
        ]
        found = [{"role": role, "content": text} for role, text in turns]
        found[1]["weight"] = weight(i)
        return found

    return messages


def first_loss(tiny, encodings):
    """sum(w * nll) / sum(w) in float64, token by token; 0.25 for the first of two replies."""
    model, total, count = load_model(tiny, device="cpu", dtype="float32").double(), 0.0, 0.0
    for ids, mask in zip(encodings.input_ids, encodings.loss_mask, strict=True):
        with torch.no_grad():
            logp = torch.log_softmax(model(torch.tensor(ids[None].astype(np.int64))).logits[0], dim=-1)
        _, second = np.flatnonzero(np.diff(mask.astype(int)) == 1) + 1
        for t in np.flatnonzero(mask):
            weight = 0.25 if t < second else 1.0
            total, count = total - weight * float(logp[t - 1, ids[t]]), count + weight
    return total / count


def test_a_training_weighs_each_message(engine, make_pool, tiny, tmp_path):
    pool = as_pool(make_pool(range(6), messages=said(lambda i: 0.25)))
    spec = ModelSpec(str(tiny))
    _, rows, _ = engine.add("pool", pool, spec)
    encodings = engine.encodings(spec, rows)
    expected = first_loss(tiny, encodings)
    unweighted = engine.train(spec, dataclasses.replace(encodings, weights={}), RECIPE, "x").losses[0]
    assert abs(unweighted - expected) > 1e-3
    assert engine.train(spec, encodings, RECIPE, "x").losses == pytest.approx([expected], abs=1e-5)
    account = curate.train(pool, out=tmp_path / "model", model=tiny, recipe=RECIPE, engine=engine)
    assert account["first_loss"] == pytest.approx(expected, abs=1e-5)
    assert account["loss_tokens"] == encodings.response_lengths.sum()


def test_weights_are_kept(engine, make_pool, tiny, monkeypatch):
    pool, spec = as_pool(make_pool(range(6), messages=said(lambda i: 0.25 if i % 2 else 1))), ModelSpec(str(tiny))
    first = engine.encodings(spec, engine.add("pool", pool, spec)[1])
    assert len(first.weights) == 3
    monkeypatch.setattr("curate.pools.encode_weights", lambda *given: pytest.fail("they are in the store"))
    again = curate.Engine(store=curate.Store(engine.store.root), device="cpu")
    found = again.encodings(spec, again.add("pool", pool, spec)[1])
    assert found.weights.keys() == first.weights.keys()
    assert all(np.array_equal(found.weights[row], first.weights[row]) for row in found.weights)


def test_the_loss_that_scores_knows_no_weights(engine, make_pool, tiny):
    weighted = curate.observe(make_pool(range(6), messages=said(lambda i: 0.25)), ["mean_loss"], model=tiny, engine=engine)
    plain = curate.observe(
        make_pool(range(6), "plain.jsonl", messages=said(lambda i: 1)), ["mean_loss"], model=tiny, engine=engine
    )
    assert sorted(weighted.frame["mean_loss"]) == pytest.approx(sorted(plain.frame["mean_loss"]))


def test_only_rows_with_such_weights_have_another_address(engine, make_pool, tiny):
    from curate.comparison.arms import Arm, Bench

    spec = ModelSpec(str(tiny))
    for name, weight in (("plain", lambda i: 1), ("some", lambda i: 0.5 if i == 0 else 0 if i == 1 else 1)):
        _, rows, _ = engine.add("pool", as_pool(make_pool(range(6), f"{name}.jsonl", messages=said(weight))), spec)
        encodings, bench = engine.encodings(spec, rows), Bench(engine, spec, rows, [], np.ones(6, np.int64))
        assert ("weights" in engine.fit_spec(Fit(spec, rows, RECIPE))) == (name == "some")
        for i in range(6):
            address = bench.spec(Arm("x", "1", 0, (i,), RECIPE))
            assert ("weights" in address) == (encodings.row_ids[i] in encodings.weights)
        assert len(encodings.weights) == (name == "some")
        assert "weights" not in bench.spec(Arm("untrained", "", 0, (), None))
