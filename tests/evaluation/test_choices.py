"""Multiple choice by likelihood, against a loop over single replies in float64."""

import json

import numpy as np
import pytest
import torch

import curate
from curate.evaluation.choices import log_likelihoods
from curate.evaluation.metric import Run
from curate.evaluation.tasks import Task, evaluate
from curate.lm.models import load_model, load_tokenizer
from curate.pool import read_pool
from curate.preparation import as_model, hold_out

ROWS = [
    {"question": "What is 2+2?", "choices": ["5", "4", "a much longer answer than the others"], "answer": "B", "source": "x"},
    {"question": "What falls?", "choices": {"text": ["rain", "rain and snow"], "label": ["1", "2"]}, "answerKey": "2"},
    {
        "messages": [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi, ask me."},
            {"role": "user", "content": "Yes or no?"},
        ],
        "choices": ["Yes", "No", "Übermorgen vielleicht"],
        "answer": 2,
    },
    {"question": "Pick.", "choices": ["same", "same"], "answer": 0},
]


@pytest.fixture
def pool(tmp_path):
    (tmp_path / "mc.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return read_pool(tmp_path / "mc.jsonl")


@pytest.fixture(scope="module")
def model(base4m):
    return load_model(base4m, device="cpu", dtype="float32"), load_tokenizer(base4m)


@pytest.fixture
def held(pool, base4m, tmp_path):
    """The encodings of the rows that a task can be measured on, for the embedded model."""
    engine = curate.Engine(store=curate.Store(tmp_path / "store"), device="cpu")

    def make(task):
        found = hold_out(engine, task, as_model(base4m))
        return found, engine.encodings(as_model(base4m), found.rows)

    return make


def oracle(model, tokenizer, prompt, choice):
    """log p of the choice and the end of turn after the prompt: one sequence at a time, in float64."""
    text = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template([*prompt, {"role": "assistant", "content": choice}], tokenize=False)
    begin = len(tokenizer(text, add_special_tokens=False)["input_ids"])
    ids = tokenizer(whole.rstrip("\n"), add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logp = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(logp[at - 1, ids[at]].item() for at in range(begin, len(ids)))


@pytest.fixture(scope="module")
def exact(base4m):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base4m, dtype=torch.float64)


def asked(pool, i):
    messages = pool.messages(i)
    return messages[: max(j for j, m in enumerate(messages) if m["role"] == "assistant")]


def choices(record):
    return record["choices"]["text"] if isinstance(record["choices"], dict) else record["choices"]


@pytest.mark.parametrize("batch_tokens", [1, 4096])
def test_likelihoods(pool, model, exact, held, batch_tokens):
    task = Task("mc", pool, "multiple_choice")
    _, encodings = held(task)
    found, _, tokens = log_likelihoods(Run(*model, task, range(4), encodings, batch_tokens))
    for i, record in enumerate(pool.records()):
        expected = [oracle(exact, model[1], asked(pool, i), text) for text in choices(record)]
        np.testing.assert_allclose(found[i], expected, atol=1e-3)
    assert tokens > encodings.lengths.sum()


def test_the_likeliest_choice(pool, model, exact, held):
    """Of the sums, and of the sums per byte; the first of two that are the same."""
    by_sum, by_byte = Task("mc", pool, "multiple_choice"), Task("mc", pool, "multiple_choice_per_byte")
    results = {task.metric: evaluate(*model, task, held(task)[1]) for task in (by_sum, by_byte)}
    differ = False
    for i, record in enumerate(pool.records()):
        texts, right = choices(record), pool.messages(i)[-1]["content"]
        logp = np.array([oracle(exact, model[1], asked(pool, i), text) for text in texts])
        best = texts[int(logp.argmax())], texts[int((logp / [len(text.encode()) for text in texts]).argmax())]
        for metric, text in zip(("multiple_choice", "multiple_choice_per_byte"), best, strict=True):
            at = results[metric].row_ids.index(pool.row_ids[i])
            assert results[metric].predictions[at] == text and results[metric].values[at] == (text == right)
        differ |= best[0] != best[1]
    assert differ  # else the test would not tell the two apart
    same = next(i for i in range(4) if asked(pool, i)[-1]["content"] == "Pick.")
    assert results["multiple_choice"].values[same] == 1


def test_bytes_are_not_characters(monkeypatch):
    """Eight bytes at -8 are likelier per byte than five at -5.5; by characters, four of them, they are not."""
    from curate.evaluation import choices as module
    from curate.pool.choices import Choices

    likelihoods = [np.array([-8.0, -5.5])], [Choices(["ääää", "bbbbb"], 0)], 1
    monkeypatch.setattr(module, "log_likelihoods", lambda run: likelihoods)
    run = Run(None, None, Task("t", None, "multiple_choice_per_byte"), [0], None)
    assert run.task.how.measure(run).predictions == ["ääää"]
    run = Run(None, None, Task("t", None, "multiple_choice"), [0], None)
    assert run.task.how.measure(run).predictions == ["bbbbb"]


def test_letters(pool, model, exact, held):
    task = Task("mc", pool, "multiple_choice", letters=True)
    result = evaluate(*model, task, held(task)[1])
    i = next(i for i in range(4) if "2+2" in asked(pool, i)[-1]["content"])
    prompt = [{"role": "user", "content": "What is 2+2?\nA. 5\nB. 4\nC. a much longer answer than the others"}]
    best = "ABC"[int(np.argmax([oracle(exact, model[1], prompt, letter) for letter in "ABC"]))]
    at = result.row_ids.index(pool.row_ids[i])
    assert result.predictions[at] == best and result.values[at] == (best == "B")


def test_rows_without_choices_and_rows_too_long(tmp_path, held, base4m):
    rows = [
        *ROWS[:1],
        {"question": "Plain?", "answer": "yes"},
        {"question": "Long?", "choices": ["no", "word " * 600], "answer": 0},
    ]
    (tmp_path / "mixed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = read_pool(tmp_path / "mixed.jsonl")
    found, encodings = held(Task("mc", pool, "multiple_choice"))
    assert len(encodings) == 1
    reasons = {pool.messages(list(pool.row_ids).index(row_id))[0]["content"]: why for row_id, why in found.failed.items()}
    assert reasons["Plain?"] == "cannot be used: no choices: choices is None"
    assert reasons["Long?"] == "is longer with one of its choices than 512 tokens"


def test_other_choices_are_another_task(tmp_path):
    """Row ids are of the question and the right choice alone."""
    identities = []
    for wrong in ("5", "6"):
        (tmp_path / "mc.jsonl").write_text(json.dumps({"question": "2+2?", "choices": ["4", wrong], "answer": 0}))
        pool = read_pool(tmp_path / "mc.jsonl")
        identities.append(Task("mc", pool, "multiple_choice").identity(pool.fingerprint))
    assert identities[0][:3] == identities[1][:3] and identities[0] != identities[1]
