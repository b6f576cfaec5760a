from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pytest

from curate.errors import InputError
from curate.evaluation.tasks import Task, evaluate
from curate.lm import forward, generate
from curate.lm.encodings import Encodings


@dataclass
class FakePool:
    conversations: dict = field(default_factory=dict)
    references: dict = field(default_factory=dict)

    @property
    def row_ids(self):
        return list(self.conversations)

    @property
    def sources(self):
        return [f"source of {row_id}" if row_id != "b" else None for row_id in self.row_ids]

    def messages(self, i):
        return self.conversations[self.row_ids[i]]

    def tools(self, i):
        return None

    @property
    def column_names(self):
        return ["references"] if self.references else []

    def column(self, name):
        return pa.array([self.references.get(row_id) for row_id in self.row_ids], pa.list_(pa.string()))


def turns(*contents):
    return [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]


@pytest.fixture
def pool():
    return FakePool({"a": turns("1+1?", "#### 2"), "b": turns("2+2?", "#### 5", "No.", "#### 4"), "c": turns("9?", "#### 9")})


def encodings(*row_ids):
    ids = [np.arange(n + 2, dtype=np.int32) for n in range(len(row_ids))]
    return Encodings(row_ids, ids, [row > 0 for row in ids], np.zeros(len(ids), bool))


def test_response_loss_follows_the_encodings(pool, monkeypatch):
    seen: dict = {}

    def mean_losses(model, encodings, *, batch_tokens, progress):
        seen.update(model=model, batch_tokens=batch_tokens)
        return np.array([0.5, np.nan]), np.array([3, 0])

    monkeypatch.setattr(forward, "mean_losses", mean_losses)
    result = evaluate("model", None, Task("held out", pool), encodings("c", "b"), batch_tokens=7)
    assert (result.task, result.metric) == ("held out", "response_loss")
    assert (result.row_ids, result.sources) == (("c", "b"), ("source of c", None))
    np.testing.assert_array_equal(result.values, [0.5, np.nan])
    np.testing.assert_array_equal(result.weights, [3.0, 0.0])
    assert seen == {"model": "model", "batch_tokens": 7}
    assert result.tokens == 5 and result.seconds >= 0


@pytest.fixture
def replies(monkeypatch):
    """Make the model reply with what is given for a last question."""
    given: dict[str, str] = {}

    def encode_prompts(tokenizer, prompts, tools):
        return [prompt[-1]["content"] for prompt in prompts]

    monkeypatch.setattr(generate, "encode_prompts", encode_prompts)
    monkeypatch.setattr(generate, "stop_ids", lambda *_: [])
    monkeypatch.setattr(generate, "generate_ids", lambda model, prompts, **_: [given[prompt] for prompt in prompts])
    monkeypatch.setattr(generate, "decode", lambda tokenizer, texts: texts)
    return given


def test_exact_match_asks_for_the_last_reply(pool, replies):
    replies.update({"No.": "It is 4", "1+1?": "#### 3", "9?": "who knows"})
    result = evaluate(None, None, Task("sums", pool, "exact_match", "gsm8k"), encodings("a", "b", "c"))
    assert result.values.tolist() == [0, 1, 0]
    assert result.weights.tolist() == [1, 1, 1]
    assert result.tokens == sum(map(len, replies)) + sum(map(len, replies.values()))


def test_exact_match_of_whole_texts(pool, replies):
    replies.update({"9?": " #### 9. "})
    found = evaluate(None, None, Task("sums", pool, "exact_match"), encodings("c"))
    assert found.values.tolist() == [1] and found.predictions == (" #### 9. ",)


def test_the_best_of_several_references_counts(pool, replies):
    pool.references.update(a=["two", "zwei or so"], c=["#### 9"])
    replies.update({"1+1?": "zwei", "9?": "#### 9", "No.": "#### 4"})
    task = Task("sums", pool, "f1")
    assert evaluate(None, None, task, encodings("a", "b", "c")).values.tolist() == [0.5, 1, 1]
    assert evaluate(None, None, Task("sums", pool, "exact_match"), encodings("a")).values.tolist() == [0]
    pool.references.update(a=["zwei."])
    assert evaluate(None, None, Task("sums", pool, "exact_match"), encodings("a")).values.tolist() == [1]


def test_a_reply_ends_before_a_stop_text(pool, replies):
    replies.update({"9?": "#### 9\nQuestion: #### 10"})
    assert evaluate(None, None, Task("t", pool, "exact_match"), encodings("c")).values.tolist() == [0]
    found = evaluate(None, None, Task("t", pool, "exact_match", stop=("Question", "\n")), encodings("c"))
    assert found.values.tolist() == [1] and found.predictions == ("#### 9",)


def test_what_identifies_a_task_in_the_store(pool):
    """The first two are in stores of old: they must stay as they are."""
    assert Task("t", pool).identity("f") == ["t", "response_loss", "f"]
    assert Task("t", pool, "exact_match", "gsm8k", 9).identity("f") == ["t", "exact_match", "f", "gsm8k", 9]
    assert Task("t", pool, "exact_match", stop=("x",)).identity("f") == ["t", "exact_match", "f", "text", 256, {"stop": ("x",)}]
    before = Task("t", FakePool(pool.conversations, {"a": ["two"]}), "exact_match").identity("f")
    after = Task("t", FakePool(pool.conversations, {"a": ["zwei"]}), "exact_match").identity("f")
    assert before != after and len(before) == 6
    assert "rouge-score" in Task("t", pool, "rouge_l").identity("f")[-1]["version"]


def test_rows_that_cannot_be_evaluated(pool, replies):
    with pytest.raises(InputError, match="no row z"):
        evaluate(None, None, Task("t", pool), encodings("z"))
    pool.conversations["d"] = turns("how?", "so")
    with pytest.raises(InputError, match="row d has no gsm8k answer"):
        evaluate(None, None, Task("t", pool, "exact_match", "gsm8k"), encodings("d"))
    pool.conversations["e"] = [{"role": "assistant", "content": "hello"}]
    with pytest.raises(InputError, match="row e has no prompt"):
        evaluate(None, None, Task("t", pool, "exact_match"), encodings("e"))


def test_tasks_that_cannot_be(pool):
    with pytest.raises(InputError, match="task t: metric 'bleurt' is not one of"):
        Task("t", pool, "bleurt")
    with pytest.raises(InputError, match="extractor 'sql'"):
        Task("t", pool, "exact_match", "sql")
    for metric, settings, said in (
        ("response_loss", {"max_new_tokens": 5}, "response_loss has no setting max_new_tokens"),
        ("exact_match", {"letters": True}, "no setting letters; it has extractor, pattern, max_new_tokens, stop"),
        ("f1", {"max_new_tokens": 0}, "max_new_tokens must be at least 1"),
        ("f1", {"stop": "x"}, "stop must be a tuple"),
        ("f1", {"extractor": "regex"}, "needs a pattern"),
        (lambda prediction, row: 1.0, {}, "declared with @curate.metric"),
    ):
        with pytest.raises(InputError, match=said):
            Task("t", pool, metric, **settings)
