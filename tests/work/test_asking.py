"""Replies to what is asked of a row otherwise than as it stands: drawn, behind examples, before an instruction."""

import numpy as np
import pytest
import torch

from curate.engine import Engine
from curate.lm.models import ModelSpec
from curate.plan import merge
from curate.pool import read_pool
from curate.preparation import prepare
from curate.requests import Ask, Examples, Generate, Subset
from curate.store import Store
from curate.work.prompts import NO_QUESTION, last_turn

ROWS = [0, 3, 7, 11]
SHOWN = np.array([[1, 2], [4, 1], [5, 6], [2, 9]])


@pytest.fixture
def asked(tmp_path, small_pool, tiny):
    engine = Engine(store=Store(tmp_path / "store"))
    data = prepare(engine, read_pool(small_pool), model=ModelSpec(str(tiny))).data

    def answer(rows=ROWS, **settings):
        request = Generate(data.model, Subset(data.pool, rows), 8, **settings)
        engine.execute(merge([request]))
        return engine.answer(request)

    answer.engine, answer.data, answer.pool = engine, data, engine.pool_of(data.pool)
    return answer


def prompts(pool, front=None, behind=""):
    made = []
    for n, i in enumerate(ROWS):
        turns = [message for j in ([] if front is None else front[n]) for message in pool.messages(int(j))]
        question = pool.messages(i)[0]["content"]
        made.append([*turns, {"role": "user", "content": f"{question}\n\n{behind}" if behind else question}])
    return made


def said(asked, messages, **settings):
    from curate.lm.generate import generate

    network, tokenizer = asked.engine.load(asked.data.model), asked.engine.tokenizer(asked.data.model)
    return generate(network, tokenizer, messages, max_new_tokens=8, **settings)


def test_it_is_the_reply_to_these_very_messages(asked):
    plain = asked().texts
    assert asked(ask=Ask()).texts == plain == said(asked, prompts(asked.pool))
    assert asked(ask=Ask(behind="Think.")).texts == said(asked, prompts(asked.pool, behind="Think.")) != plain
    shown = Ask(examples=Examples(asked.data.pool, SHOWN))
    assert asked(ask=shown).texts == said(asked, prompts(asked.pool, SHOWN)) != plain


def test_the_rows_own_reply_comes_before_the_instruction(asked):
    turns = [asked.pool.messages(i) for i in ROWS]
    whole = [[{"role": "user", "content": f"{q['content']}\n\n{a['content']}\n\nAgain."}] for q, a in turns]
    found = asked(ask=Ask(behind="Again.", reply=True))
    assert found.texts == said(asked, whole) and found.own == [a["content"] for _, a in turns]


def test_a_draw_depends_on_the_row_and_the_seed_alone(asked):
    """Not on which other rows are asked with it, nor on which are there already."""
    first = asked(rows=[3, 7], temperature=1.0).texts
    assert asked(temperature=1.0).texts[1:3] == first
    assert asked(temperature=1.0, seed=1).texts != asked(temperature=1.0).texts != asked().texts


def test_attention_is_that_of_the_layer_from_the_question_to_each_example(asked):
    """Against the model's own attention of the whole prompt, in float64, sections found by printing the messages up to each."""
    from transformers import AutoModelForCausalLM

    from curate.lm.generate import encode_prompts

    found = asked(ask=Ask(examples=Examples(asked.data.pool, SHOWN), attention=1)).attention
    oracle = AutoModelForCausalLM.from_pretrained(asked.data.model.folder(), dtype=torch.float64, attn_implementation="eager")
    tokenizer = asked.engine.tokenizer(asked.data.model)
    for row, messages in zip(found, prompts(asked.pool, SHOWN), strict=True):
        [ids] = encode_prompts(tokenizer, [messages])
        with torch.no_grad():
            heads = oracle(torch.from_numpy(ids[None]), output_attentions=True).attentions[1][0].sum(dim=0).numpy()
        text = tokenizer.decode(ids)
        starts = [len(tokenizer(text[: text.index(m["content"])])["input_ids"]) for m in messages if m["role"] == "user"]
        own = heads[starts[-1] :]
        want = [own[:, a:b].mean() for a, b in zip(starts, starts[1:])]
        np.testing.assert_allclose(row, want, rtol=1e-4)
    deep = asked(ask=Ask(examples=Examples(asked.data.pool, SHOWN), attention=0.1)).attention  # the first of two
    assert deep.shape == (4, 2) and not np.allclose(deep, found)


def test_examples_without_room_are_left_out(asked):
    many = np.resize(np.arange(12, 24), (4, 30))
    found = asked(ask=Ask(examples=Examples(asked.data.pool, many), attention=1))
    there = np.isfinite(found.attention)
    assert found.reasons.tolist() == [None] * 4 and there[:, 0].all() and not there[:, -1].any()
    assert (np.diff(there.astype(int), axis=1) <= 0).all()  # the last ones go first


def test_what_is_kept_is_told_apart_by_how_it_was_asked(asked):
    asked()
    for settings in ({"temperature": 1.0}, {"ask": Ask(behind="a")}, {"ask": Ask(examples=Examples(asked.data.pool, SHOWN))}):
        request = Generate(asked.data.model, Subset(asked.data.pool, ROWS), 8, **settings)
        work = asked.engine.work(request)
        assert len(work.missing()) == 4 and work.tokens(np.arange(4)) > 0
        asked.engine.execute(merge([request]))
        assert not len(work.missing())
    assert Ask(examples=Examples(asked.data.pool, SHOWN)) == Ask(examples=Examples(asked.data.pool, SHOWN.copy()))


def test_the_last_question_and_its_reply():
    turns = [{"role": role, "content": f"{role}{i}"} for i in range(2) for role in ("user", "assistant")]
    assert last_turn([{"role": "system", "content": "s"}, *turns]) == turns[2:]
    assert last_turn(turns[1:2]) == last_turn([]) == [] and NO_QUESTION
