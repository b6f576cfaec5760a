"""The default settings, on a real model: it learns what the rows have in common."""

from pathlib import Path

import numpy as np
import pytest

from curate.evaluation.tasks import Task, evaluate
from curate.lm.encode import encode_rows
from curate.lm.encodings import Encodings
from curate.lm.generate import generate
from curate.lm.models import load_model, load_tokenizer
from curate.training.config import TrainConfig
from curate.training.trainer import train

MODEL = Path(__file__).parents[2] / "data" / "models" / "base-4m"


class Additions:
    """Sums with a fixed form of answer."""

    column_names = ("messages",)

    def __init__(self, tokenizer, pairs):
        self.row_ids = [f"{a}+{b}" for a, b in pairs]
        self.sources = ["sums"] * len(pairs)
        self.conversations = [
            [
                {"role": "user", "content": f"What is {a} + {b}?"},
                {"role": "assistant", "content": f"The sum that you are looking for is {a + b}."},
            ]
            for a, b in pairs
        ]
        rows = encode_rows(tokenizer, [(messages, None) for messages in self.conversations], 512)
        cut = np.array([row.truncated for row in rows])
        self.encodings = Encodings(self.row_ids, [row.input_ids for row in rows], [row.loss_mask for row in rows], cut)

    def messages(self, i):
        return self.conversations[i]

    def tools(self, i):
        return None


@pytest.mark.parametrize("adapter", ["lora", "none"])
def test_default_rate_learns(adapter):
    model, tokenizer = load_model(MODEL, device="cpu", dtype="float32"), load_tokenizer(MODEL)
    rows = Additions(tokenizer, [(a, a + b) for a in range(6) for b in range(8)])
    held_out = Additions(tokenizer, [(a, b) for a in range(20, 24) for b in range(4)])
    task = Task("sums", held_out)  # type: ignore[arg-type]
    before = evaluate(model, tokenizer, task, held_out.encodings)
    result = train(model, tokenizer, rows.encodings, TrainConfig(adapter=adapter, epochs=3, batch_tokens=512))
    after = evaluate(result.model, tokenizer, task, held_out.encodings)
    assert after.values.mean() < before.values.mean() / 2
    assert evaluate(result.merged(), tokenizer, task, held_out.encodings).values == pytest.approx(after.values, abs=1e-4)
    answers = Task("answers", held_out, "exact_match", "gsm8k", max_new_tokens=20)  # type: ignore[arg-type]
    given = evaluate(result.model, tokenizer, answers, held_out.encodings)
    assert set(given.values) <= {0.0, 1.0}
    assert given.tokens > held_out.encodings.lengths.sum() / 2


def test_eight_rows_are_learned_by_heart():
    """Loss near 0, and greedy answers that are the replies to the letter."""
    model, tokenizer = load_model(MODEL, device="cpu", dtype="float32"), load_tokenizer(MODEL)
    rows = Additions(tokenizer, [(a, 7 * a % 11) for a in range(8)])
    config = TrainConfig(adapter="none", steps=40, batch_tokens=int(rows.encodings.lengths.sum()), learning_rate=1e-3)
    result = train(model, tokenizer, rows.encodings, config)
    assert result.losses[-1] < 0.01 < 1 < result.losses[0]
    answers = generate(result.model, tokenizer, [messages[:1] for messages in rows.conversations], max_new_tokens=40)
    assert answers == [messages[1]["content"] for messages in rows.conversations]
