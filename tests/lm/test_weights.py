"""How much each token of a reply counts in training, by the weight of its message."""

import hashlib

import numpy as np
import pytest

from curate.lm.encode import encode_rows
from curate.lm.encodings import Encodings
from curate.lm.models import load_tokenizer
from curate.lm.weights import WEIGHT_VERSION, encode_weights, weighted_rows
from curate.pool import read_pool


@pytest.fixture(scope="module")
def tokenizer(base4m):
    return load_tokenizer(base4m)


def chat(*replies, **asked):
    """Questions and (reply, weight) in turn; a weight of None is not given."""
    messages = []
    for number, (reply, weight) in enumerate(replies):
        messages.append({"role": "user", "content": f"Question {number}?", **asked})
        messages.append({"role": "assistant", "content": reply, **({} if weight is None else {"weight": weight})})
    return messages


def test_each_token_of_a_reply_has_its_weight(tokenizer):
    messages = chat(("One word", 0.5), ("unlearned", 0), ("Two of them", None), ("One word", 2.5), ("last", 1))
    [row] = encode_rows(tokenizer, [(messages, None)], 512)
    [weights] = encode_weights(tokenizer, [(messages, None)], [row.loss_mask])
    assert weights.dtype == np.float32 and weights.shape == row.loss_mask.shape
    assert np.array_equal(weights > 0, row.loss_mask)
    said = {w: tokenizer.decode(row.input_ids[weights == np.float32(w)]) for w in (0.5, 1, 2.5)}
    assert said == {0.5: "One word<|end|>", 1: "Two of them<|end|>last<|end|>", 2.5: "One word<|end|>"}


def test_a_row_that_was_cut_has_weights_as_far_as_it_goes(tokenizer):
    messages = chat(("One word", 0.5), ("and many others after it", 0.25))
    [row] = encode_rows(tokenizer, [(messages, None)], 512)
    [whole] = encode_weights(tokenizer, [(messages, None)], [row.loss_mask])
    for length in range(12, len(whole)):
        [cut] = encode_weights(tokenizer, [(messages, None)], [row.loss_mask[:length]])
        assert np.array_equal(cut, whole[:length])


def test_which_rows_have_weights(make_pool):
    """Only what an assistant says is weighed, and 0 and 1 are the mask's own."""
    rows = [
        chat(("a", None)), chat(("b", 0), ("c", 1)), chat(("d", 0.5)), chat(("e", 1), ("f", 3)), chat(("g", 1), weight=0.5),
        chat(("h", 1.0)),
    ]  # fmt: skip
    pool = read_pool(make_pool(range(len(rows)), messages=lambda i: rows[i]))
    assert sorted(pool.messages(int(i))[-1]["content"] for i in weighted_rows(pool)) == ["d", "f"]
    assert weighted_rows(read_pool(make_pool(range(3), "plain.jsonl"))).tolist() == []


def test_weights_follow_their_rows():
    ids = [np.arange(n, dtype=np.int32) for n in (2, 3)]
    plain = Encodings(["a", "b"], ids, [row > 0 for row in ids], np.zeros(2, bool))
    assert plain.token_weights() is None
    rows = Encodings(["a", "b"], ids, plain.loss_mask, plain.truncated, {"b": np.array([0, 0.5, 2], np.float32)})
    assert [w.tolist() for w in rows.token_weights()] == [[1, 1], [0, 0.5, 2]]
    assert [w.tolist() for w in rows.take([1, 0, 1]).token_weights()] == [[0, 0.5, 2], [1, 1], [0, 0.5, 2]]
    assert rows.take([0]).token_weights() is None


def test_other_weights_need_another_version(tokenizer):
    """Kept weights are found again by the version: raise it when this hash changes."""
    messages = chat(("One word", 0.5), ("unlearned", 0), ("Two of them", None))
    [row] = encode_rows(tokenizer, [(messages, None)], 512)
    [weights] = encode_weights(tokenizer, [(messages, None)], [row.loss_mask])
    assert (WEIGHT_VERSION, hashlib.sha256(weights.tobytes()).hexdigest()[:16]) == (1, "a73a3db9b9554266")
