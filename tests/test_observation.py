"""Observables of a pool in each view, against the model run by hand on the very tokens."""

import json

import numpy as np
import polars as pl
import pytest
import torch

import curate.lm.forward
from curate import Engine, Store, observe
from curate.errors import CurateError, InputError
from curate.lm.models import ModelSpec, load_model, load_tokenizer
from curate.preparation import as_pool, prepare
from curate.requests import Embed, HiddenStates, Observe, Pairs


@pytest.fixture
def run(tmp_path, tiny):
    def run(pool, *names, **keys):
        engine = Engine(store=Store(tmp_path / "store"), **keys.pop("settings", {}))
        found = observe(pool, names, model=tiny, engine=engine, **keys)
        found.engine = engine
        return found

    return run


@pytest.fixture(scope="module")
def by_hand(tiny):
    """Mean loss of the last tokens, and all states, of token ids by the tiny model in float64."""
    model, tokenizer = load_model(tiny, device="cpu", dtype="float32").double(), load_tokenizer(tiny)

    def loss(ids, scored):
        with torch.no_grad():
            logp = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0], dim=-1)
        return -float(np.mean([logp[t - 1, ids[t]] for t in range(len(ids) - scored, len(ids))]))

    return model, tokenizer, loss


def parts(pool, tokenizer):
    """Token ids of each row's prompt, up to the reply, and of its reply with the end of turn, by row id."""
    found = {}
    for i, row_id in enumerate(pool.row_ids):
        user, reply = (message["content"] for message in pool.messages(i))
        head = tokenizer.apply_chat_template([{"role": "user", "content": user}], tokenize=False, add_generation_prompt=True)
        found[row_id] = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (head, reply + tokenizer.eos_token)]
    return found


def column(found, name):
    return dict(zip(found.frame["row_id"], found.frame[name].to_list(), strict=True))


def test_views_are_what_they_say(run, small_pool, by_hand):
    _, tokenizer, loss = by_hand
    pool = as_pool(small_pool)
    for view, ids in {
        "conversation": lambda prompt, reply: (prompt + reply, len(reply)),
        "response": lambda prompt, reply: ([tokenizer.bos_token_id, *reply], len(reply)),
        "response_without_start": lambda prompt, reply: (reply, len(reply) - 1),
        "instruction": lambda prompt, reply: (prompt, len(prompt) - 1),
    }.items():
        found = column(run(pool, "mean_loss", view=view), "mean_loss")
        for row_id, (prompt, reply) in parts(pool, tokenizer).items():
            assert found[row_id] == pytest.approx(loss(*ids(prompt, reply)), abs=1e-4), view


def test_after_an_example(run, small_pool, make_pool, by_hand):
    _, tokenizer, loss = by_hand
    pool, example = as_pool(small_pool), as_pool(make_pool([99], "example.jsonl"))
    [(before, shown)] = parts(example, tokenizer).values()
    found = column(run(pool, "mean_loss", example=example), "mean_loss")
    between = tokenizer("\n", add_special_tokens=False)["input_ids"]
    for row_id, (prompt, reply) in parts(pool, tokenizer).items():
        ids = tokenizer.decode(before + shown + between + prompt + reply)
        assert found[row_id] == pytest.approx(loss(tokenizer(ids, add_special_tokens=False)["input_ids"], len(reply)), abs=1e-4)


def test_pooled_states_are_of_every_token_and_of_no_padding(run, small_pool, by_hand):
    model, tokenizer, _ = by_hand
    pool = as_pool(small_pool)
    found = run(pool, "hidden_mean", "hidden_last", "hidden_weighted", view="instruction").frame
    assert found["hidden_mean"].dtype == pl.Array(pl.Float32, 32)
    for row_id, mean, last, weighted in found.select("row_id", "hidden_mean", "hidden_last", "hidden_weighted").iter_rows():
        ids = parts(pool, tokenizer)[row_id][0]
        with torch.no_grad():
            states = model.base_model(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy()
        np.testing.assert_allclose(mean, states.mean(axis=0), atol=1e-4)
        np.testing.assert_allclose(last, states[-1], atol=1e-4)
        np.testing.assert_allclose(weighted, np.average(states, axis=0, weights=np.arange(1, len(ids) + 1)), atol=1e-4)


def test_all_observables_are_one_pass(run, small_pool, monkeypatch):
    names = ("mean_loss", "sum_loss", "token_logprobs", "entropy", "token_entropies", "margin", "el2n", "hidden_mean", "tokens")
    found = run(small_pool, *names)
    [one] = [stage for stage in found.stages if stage.kind == "pass"]
    assert one.tokens == found.frame["tokens"].sum() and one.computed_rows == 24
    frame = found.frame
    assert frame["token_logprobs"].list.len().to_list() == frame["response_tokens"].to_list()
    np.testing.assert_allclose(frame["token_logprobs"].list.sum(), -frame["sum_loss"], rtol=1e-5)
    np.testing.assert_allclose(frame["token_entropies"].list.mean(), frame["entropy"], rtol=1e-5)
    monkeypatch.setattr(curate.lm.forward, "traces", None)  # nothing is forwarded again
    assert run(small_pool, *names).frame.equals(frame)
    assert run(small_pool, "el2n", "margin").frame["margin"].equals(frame["margin"])


def test_only_what_is_missing_of_a_pass_is_recorded(run, small_pool):
    run(small_pool, "mean_loss")
    both = run(small_pool, "mean_loss", "entropy")
    assert [(s.computed_rows, s.reused_rows) for s in both.stages if s.kind == "pass"] == [(24, 0)]
    assert not both.frame["entropy"].is_null().any()


def test_one_token_alone_has_nothing_to_score(run, make_pool, by_hand):
    pool = as_pool(make_pool([3]))
    [(prompt, _)] = parts(pool, by_hand[1]).values()
    cut = {"max_length": len(prompt) + 1}  # one token of the reply is left
    found = run(pool, "mean_loss", "hidden_mean", "token_logprobs", view="response_without_start", settings=cut).frame
    assert found["response_tokens"].item() == 1 and found["hidden_mean"].null_count() == 0
    for name in ("mean_loss", "token_logprobs"):
        assert found[name].item() is None and found[f"{name}_null"].item() == "no token to score in this view"
    assert run(pool, "mean_loss", view="response", settings=cut).frame["mean_loss"].item() > 0


def test_a_row_that_fails_is_null_in_this_run_and_tried_in_the_next(run, small_pool, monkeypatch):
    real = curate.lm.forward._batch
    longest = int(run(small_pool, "tokens").frame["tokens"].max())

    def short_of_memory(model, head, rows, *args):
        if rows.lengths.max() >= longest:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(model, head, rows, *args)

    with monkeypatch.context() as patch:
        patch.setattr(curate.lm.forward, "_batch", short_of_memory)
        found = run(small_pool, "mean_loss", "hidden_mean", "token_logprobs").frame
    long = found["tokens"] == longest
    for name in ("mean_loss", "hidden_mean", "token_logprobs"):
        assert found[name].is_null().equals(long.rename(name)), name
        assert set(found[f"{name}_null"].drop_nulls()) == {f"out of memory on this row alone, {longest} tokens"}
    again = run(small_pool, "mean_loss")
    assert again.frame["mean_loss"].null_count() == 0
    assert [s.computed_rows for s in again.stages if s.kind == "pass"] == [int(long.sum())]


def test_a_row_that_fails_for_one_observable_keeps_the_others(tmp_path, small_pool, tiny, monkeypatch):
    """What the store has of it, and what a later pass of the same run can do."""
    engine, spec = Engine(store=Store(tmp_path / "store")), ModelSpec(str(tiny))
    rows = prepare(engine, as_pool(small_pool), model=spec).rows

    def ask(name):
        request = Observe(spec, rows, name)
        engine.execute(curate.plan.merge([request]))
        return engine.answer(request)

    stored, real = ask("mean_loss"), curate.lm.forward._batch

    def failing(model, head, batch, tokens, *more):
        if ("entropy" in tokens and batch.row_ids[0] == engine.ids(rows)[3]) or ("entropy" in tokens and len(batch) > 1):
            raise RuntimeError("no such kernel")
        return real(model, head, batch, tokens, *more)

    monkeypatch.setattr(curate.lm.forward, "_batch", failing)
    null = ask("entropy")
    assert np.flatnonzero(np.isnan(null.values)).tolist() == [3] and "no such kernel" in null.reasons[3]
    assert not np.isnan(ask("mean_loss").values).any() and np.array_equal(ask("mean_loss").values, stored.values)
    assert not np.isnan(ask("sum_loss").values).any()
    assert np.isnan(ask("entropy").values[3])  # not tried again in this run


def test_a_model_that_always_fails_is_said_once(run, small_pool, monkeypatch):
    def broken(*args):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(curate.lm.forward, "_batch", broken)
    with pytest.raises(CurateError, match="the model fails on every row: the model failed on this row: no such kernel"):
        run(small_pool, "mean_loss")


def test_pairs_are_kept_one_by_one(run, small_pool, make_pool, tiny):
    """Utilities of examples for rows: asked in one order, then in another with more of them."""
    engine = run(small_pool, "tokens").engine
    spec = ModelSpec(str(tiny))
    prepared = prepare(engine, as_pool(small_pool), model=spec)
    some = Pairs(prepared.rows, prepared.rows, np.array([[0, 1], [1, 0], [2, 1]]))
    more = Pairs(prepared.rows, prepared.rows, np.array([[5, 1], [2, 1], [1, 0], [0, 1]]))
    assert some == Pairs(prepared.rows, prepared.rows, [[0, 1], [1, 0], [2, 1]]) != more and len({some, more}) == 2

    def ask(pairs):
        request = Observe(spec, pairs, "mean_loss", "after_example")
        engine.execute(curate.plan.merge([request]))
        return engine.answer(request)

    first = ask(some)
    assert [s.computed_rows for s in engine.stages if s.kind == "pass"] == [3] and len(set(first.values)) == 3
    then = ask(more)
    assert [s.computed_rows for s in engine.stages if s.kind == "pass"][1:] == [1]
    assert then.values[[3, 2, 1]].tolist() == first.values.tolist()
    with pytest.raises(ValueError, match="the view after_example is of pairs"):
        Observe(spec, prepared.rows, "mean_loss", "after_example")
    with pytest.raises(ValueError, match="asked for conversation"):
        Observe(spec, some, "mean_loss")


def test_hidden_states_as_an_embedding(run, small_pool, tiny):
    engine = run(small_pool, "hidden_weighted").engine
    spec = ModelSpec(str(tiny))
    prepared = prepare(engine, as_pool(small_pool), model=spec)
    request = Embed(HiddenStates(spec, "weighted"), prepared.rows)
    engine.execute(curate.plan.merge([request]))
    assert [s.computed_rows for s in engine.stages if s.kind == "pass"] == [24, 0]
    vectors = engine.answer(request)
    assert vectors.values.shape == (24, 32) and vectors.values.dtype == np.float32 and not vectors.is_null.any()


@pytest.mark.parametrize(
    ("names", "keys", "said"),
    [
        (["loss"], {}, "observable loss: there are mean_loss, sum_loss"),
        ([], {}, "observable missing: there are mean_loss"),
        (["mean_loss"], {"view": "reply"}, "view 'reply' is not one of conversation, response"),
        (["mean_loss"], {"example": True}, "the example must be one conversation, not 24"),
        (["mean_loss"], {"example": True, "view": "response"}, "not before the view response"),
    ],
)
def test_what_cannot_be_observed_is_said(run, small_pool, names, keys, said):
    keys = {key: small_pool if value is True else value for key, value in keys.items()}
    with pytest.raises(InputError, match=said):
        run(small_pool, *names, **keys)


def test_written(run, small_pool, tmp_path):
    found = run(small_pool, "mean_loss", "hidden_last")
    found.write(tmp_path / "out")
    assert pl.read_parquet(tmp_path / "out" / "observed.parquet").equals(found.frame)
    assert (tmp_path / "out" / "rejected.jsonl").read_text() == ""
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["observables"] == ["mean_loss", "hidden_last"] and manifest["view"] == "conversation"
    assert len(manifest["store"]["artifacts"]) == 3  # token ids, and an artifact for each observable
