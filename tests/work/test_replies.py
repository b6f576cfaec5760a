"""Replies of a model to rows: what it would say alone, its loss on that, and how much of it the row's own reply has."""

import numpy as np
import pytest
import torch

from curate.engine import Engine
from curate.lm.models import ModelSpec, forward_flops
from curate.plan import merge
from curate.pool import read_pool
from curate.preparation import prepare
from curate.requests import Fit, Generate, Subset
from curate.store import Store
from curate.training.config import TrainConfig
from curate.work.replies import _end, overlap, split


@pytest.mark.parametrize(
    "mask, prompt, reply",
    [
        ([0, 0, 1, 1, 0], [0, 1], [2, 3]),
        ([0, 1, 1, 0, 0, 1], [0, 1, 2, 3, 4], [5]),
        ([0, 1], [0], [1]),
    ],
)
def test_the_last_reply_and_what_is_before_it(mask, prompt, reply):
    before, own = split(np.arange(len(mask)), np.array(mask, dtype=bool))
    assert before.tolist() == prompt and own.tolist() == reply


@pytest.mark.parametrize(
    "reply, gold, value",
    [([1, 2, 3], [3, 2, 1], 1.0), ([1, 2], [3, 4], 0.0), ([1, 1, 2], [1, 2, 2, 2], 4 / 7), ([], [1], 0.0), ([], [], 1.0)],
)
def test_overlap_is_f1_of_bags_of_tokens(reply, gold, value):
    assert overlap(np.array(reply), np.array(gold)) == pytest.approx(value)


@pytest.fixture
def asked(tmp_path, small_pool, tiny):
    engine = Engine(store=Store(tmp_path / "store"))
    data = prepare(engine, read_pool(small_pool), model=ModelSpec(str(tiny))).data
    request = Generate(data.model, Subset(data.pool, [0, 3, 7, 11]), 12)
    engine.execute(merge([request]))
    return engine, data, request


def test_a_reply_is_what_the_model_says_to_the_rows_question(asked, small_pool):
    from curate.lm.generate import generate

    engine, data, request = asked
    found = engine.answer(request)
    pool, network = read_pool(small_pool), engine.load(data.model)
    prompts = [pool.messages(i)[:-1] for i in request.rows.index]
    assert found.texts == generate(network, engine.tokenizer(data.model), prompts, max_new_tokens=12)
    assert found.reasons.tolist() == [None] * 4 and ((found.overlap >= 0) & (found.overlap <= 1)).all()


def test_its_loss_is_that_of_the_reply_read_again(asked, small_pool):
    """In float64, one row at a time, token by token."""
    from transformers import AutoModelForCausalLM

    from curate.lm.generate import encode_prompts, generate_ids, stop_ids

    engine, data, request = asked
    pool, tokenizer = read_pool(small_pool), engine.tokenizer(data.model)
    prompts = encode_prompts(tokenizer, [pool.messages(i)[:-1] for i in request.rows.index])
    network = engine.load(data.model)
    stop = stop_ids(network, tokenizer)
    replies = generate_ids(network, prompts, stop=stop, max_new_tokens=12)
    oracle = AutoModelForCausalLM.from_pretrained(data.model.folder(), dtype=torch.float64)
    for prompt, reply, loss in zip(prompts, replies, engine.answer(request).mean_loss, strict=True):
        assert len(reply) == 12  # a random model does not end its replies
        ids = torch.from_numpy(np.concatenate([prompt, reply]))[None]
        with torch.no_grad():
            logp = oracle(ids).logits[0].log_softmax(-1)
        own = [float(logp[t - 1, ids[0, t]]) for t in range(len(prompt), ids.shape[1])]
        assert loss == pytest.approx(-np.mean(own), abs=1e-4)


def test_a_row_that_was_cut_has_no_end_to_strip():
    stop = [2, 9]
    assert _end(np.array([5, 6, 9]), stop).tolist() == [9] and _end(np.array([5, 6]), stop).tolist() == [2]


def test_what_they_cost_is_by_their_own_lengths(asked):
    """Twice over question and reply: here all replies have the length allowed."""
    engine, data, request = asked
    encodings = engine.encodings(data.model, request.rows)
    pairs = zip(encodings.input_ids, encodings.loss_mask, strict=True)
    tokens = 2 * sum(len(split(ids, mask)[0]) + 12 for ids, mask in pairs)
    [stage] = [stage for stage in engine.stages if stage.kind == "replies"]
    seconds, flops = engine.work(request).cost()
    assert stage.tokens == tokens <= engine.work(request).tokens(np.arange(4)) and seconds > 0
    assert flops == stage.flops == forward_flops(data.model, tokens)


def test_replies_are_kept_and_only_new_rows_are_asked(asked):
    engine, data, request = asked
    before = len(engine.stages)
    engine.execute(merge([request]))
    [stage] = engine.stages[before:]
    assert stage.kind == "replies" and stage.reused_rows == 4 and not stage.computed_rows
    more = Generate(data.model, Subset(data.pool, [0, 3, 5, 7, 11]), 12)
    assert engine.work(more).missing().tolist() == [2]
    assert len(engine.work(Generate(data.model, request.rows, 13)).missing()) == 4


def test_a_fit_replies_as_well_and_is_made_first(asked):
    engine, data, request = asked
    fit = Fit(data.model, data.pool, TrainConfig(adapter="none", learning_rate=1e-2, batch_tokens=256))
    plan = merge([Generate(fit, request.rows, 4)])
    assert plan.fits == (fit,)
    engine.execute(plan)
    assert all(text is not None for text in engine.answer(plan.replies[0]).texts)


def test_a_reply_ends_where_the_context_does(tmp_path, make_pool, tiny):
    """The tiny model reads 256 tokens; here the reply is cut after its first ones."""
    pool = make_pool([1, 2])
    lines = pool.read_text().splitlines()
    lines[0] = lines[0].replace("What is", "What is the sum of " + "one and " * 117)
    pool.write_text("\n".join(lines) + "\n")
    engine = Engine(store=Store(tmp_path / "store"))
    data = prepare(engine, read_pool(pool), model=ModelSpec(str(tiny))).data
    encodings = engine.encodings(data.model, data.pool)
    assert encodings.truncated.tolist().count(True) == 1
    request = Generate(data.model, data.pool, 200)
    engine.execute(merge([request]))
    found = engine.answer(request)
    assert np.isfinite(found.mean_loss).all()  # up to the end of the context
