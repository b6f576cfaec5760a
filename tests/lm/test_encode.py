"""Conversations as ids and masks: against the tokenizer's own mask, and cut at every length."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from transformers import AutoTokenizer

from curate.lm.encode import ENCODE_VERSION, EncodedRow, encode_rows, encode_shards, to_arrow
from curate.lm.encodings import ENCODING_TYPE, Encodings, from_arrow
from curate.pool import read_pool

SAMPLE_ROWS = 400


@pytest.fixture(scope="module")
def tokenizer(base4m):
    return AutoTokenizer.from_pretrained(base4m)


def chat(user="2+2?", assistant="It is 4, I think.", **keys):
    return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant, **keys}]


def encode(tokenizer, *conversations, max_length=512):
    return encode_rows(tokenizer, [(messages, None) for messages in conversations], max_length)


def test_masks_are_those_of_the_tokenizers_own_markers(tokenizer, base4m):
    """base-4m's template carries generation markers, so transformers can tell its replies by itself."""
    pool = read_pool(base4m.parents[1] / "sample" / "pool.parquet")
    positions = np.linspace(0, len(pool) - 1, SAMPLE_ROWS).astype(int)
    conversations = [pool.messages(int(i)) for i in positions]
    assert sum(len(messages) > 3 for messages in conversations) > 5  # several turns
    assert sum(messages[0]["role"] == "system" for messages in conversations) > 5
    own = tokenizer.apply_chat_template(
        conversations, tokenize=True, return_dict=True, return_assistant_tokens_mask=True, max_length=10_000
    )
    for row, ids, mask in zip(encode(tokenizer, *conversations), own["input_ids"], own["assistant_masks"], strict=True):
        assert row.reason is None and not row.truncated
        assert row.input_ids.tolist() == ids
        assert row.loss_mask.astype(int).tolist() == mask


def test_real_conversations_are_masked_too(tokenizer, shared_data):
    file = next(iter(sorted(shared_data.glob("sgd_dialogues/*.parquet"))), None)
    if file is None:
        pytest.skip(f"no dialogues in {shared_data}")
    pool = read_pool(file, limit=50)
    conversations = [pool.messages(i) for i in range(len(pool))]
    for row, messages in zip(encode(tokenizer, *conversations, max_length=10_000), conversations, strict=True):
        assert row.reason is None
        want = "".join(m["content"] + "<|end|>" for m in messages if m["role"] == "assistant")
        assert tokenizer.decode(row.input_ids[row.loss_mask]) == want


def test_other_results_need_another_version(tokenizer, base4m):
    """Kept token ids are found again by the version: raise it when this hash changes."""
    pool = read_pool(base4m.parents[1] / "sample" / "pool.parquet", limit=100)
    known = hashlib.sha256()
    for row in encode(tokenizer, *[pool.messages(i) for i in range(len(pool))], chat(weight=0), max_length=100):
        known.update(row.input_ids.tobytes() + row.loss_mask.tobytes() + repr((row.truncated, row.reason)).encode())
    assert (ENCODE_VERSION, known.hexdigest()[:16]) == (3, "dbafe44945f70451")


def test_types_and_shapes(tokenizer):
    [row] = encode(tokenizer, chat())
    assert row.input_ids.dtype == np.int32 and row.loss_mask.dtype == bool
    assert row.input_ids.shape == row.loss_mask.shape and row.reason is None
    assert encode(tokenizer) == []


def test_truncation_at_every_length(tokenizer):
    messages = [*chat(), *chat("And 3+3?", "6")]
    [whole] = encode(tokenizer, messages)
    length, first = len(whole.input_ids), int(np.flatnonzero(whole.loss_mask)[0])
    assert first > 3
    for limit in range(1, length + 3):
        [row] = encode(tokenizer, messages, max_length=limit)
        if limit <= first:
            assert row.reason == f"the reply is cut off entirely at {limit} tokens"
            assert len(row.input_ids) == len(row.loss_mask) == 0 and not row.truncated
        else:
            assert row.reason is None and row.truncated == (limit < length)
            assert np.array_equal(row.input_ids, whole.input_ids[:limit])
            assert np.array_equal(row.loss_mask, whole.loss_mask[:limit])


def test_the_first_token_is_never_learned(tokenizer, monkeypatch):
    """Nothing stands before it to predict it from."""
    monkeypatch.setattr(tokenizer, "chat_template", "{%- for m in messages -%}{{- m['content'] -}}{%- endfor -%}")
    [row, alone] = encode(tokenizer, chat("", "ab cd"), chat("", "a"))
    assert tokenizer.decode(row.input_ids) == "ab cd"
    assert not row.loss_mask[0] and row.loss_mask[1:].all()
    assert alone.reason == "no token of a reply to learn from"


def test_one_bad_row_leaves_the_others_alone(tokenizer, monkeypatch):
    [good] = encode(tokenizer, chat())
    picky = tokenizer.chat_template + (
        "{%- if 'raise' in messages[0]['content'] -%}{{- raise_exception('not this one') -}}{%- endif -%}"
    )
    monkeypatch.setattr(tokenizer, "chat_template", picky)
    rows = encode(tokenizer, chat("raise"), chat(), chat(weight=0), chat("raise again"), chat())
    assert [row.reason for row in rows] == [
        "the chat template failed: not this one",
        None,
        "no token of a reply to learn from",
        "the chat template failed: not this one",
        None,
    ]
    for row in (rows[1], rows[4]):
        assert np.array_equal(row.input_ids, good.input_ids) and np.array_equal(row.loss_mask, good.loss_mask)
    assert [row.reason for row in encode(tokenizer, chat("raise"))] == ["the chat template failed: not this one"]


def test_tools_reach_the_template(tokenizer, monkeypatch):
    with_tools = "{%- if tools -%}{{- tools | tojson -}}{%- endif -%}" + tokenizer.chat_template
    monkeypatch.setattr(tokenizer, "chat_template", with_tools)
    tool = {"type": "function", "function": {"name": "add", "description": "", "parameters": {}}}
    one, none = encode_rows(tokenizer, [(chat(), [tool]), (chat(), None)], 512)
    assert '"name": "add"' in tokenizer.decode(one.input_ids)
    assert tokenizer.decode(one.input_ids[one.loss_mask]) == tokenizer.decode(none.input_ids[none.loss_mask])


def test_encodings_are_taken_in_order():
    ids = [np.arange(n, dtype=np.int32) for n in (2, 3, 4)]
    rows = Encodings(["a", "b", "c"], ids, [row % 2 == 1 for row in ids], np.array([False, True, False]))
    assert rows.lengths.tolist() == [2, 3, 4] and rows.response_lengths.tolist() == [1, 1, 2] and len(rows) == 3
    some = rows.take([2, 0, 2])
    assert some.row_ids == ["c", "a", "c"] and some.lengths.tolist() == [4, 2, 4]
    assert rows.take(np.array([1])).truncated.tolist() == [True]


def test_a_failed_row_has_a_reason_and_no_tokens():
    row = EncodedRow.failed("why")
    assert (row.reason, len(row.input_ids), len(row.loss_mask), row.truncated) == ("why", 0, 0, False)


def test_arrow_gives_back_the_rows(tokenizer):
    """In one chunk or several, sliced or not, with rows that cannot be used among them."""
    rows = [*encode(tokenizer, chat(), chat("hi", "yes"), chat(assistant="long " * 300), max_length=40), EncodedRow.failed("no")]
    rows += encode(tokenizer, *(chat("q", "word " * n) for n in range(1, 6)))
    column = pa.chunked_array([to_arrow(rows[:2]), to_arrow(rows[2:5]), to_arrow([]), to_arrow(rows)[5:]])
    assert column.type == ENCODING_TYPE and column.is_null().to_pylist() == [row.reason is not None for row in rows]
    usable = [row for row in rows if row.reason is None]
    found = from_arrow([str(i) for i in range(len(usable))], column.drop_null())
    assert len(found.input_ids) == len(found.loss_mask) == len(usable) == 8
    for i, row in enumerate(usable):
        assert np.array_equal(found.input_ids[i], row.input_ids) and found.input_ids[i].dtype == np.int32
        assert np.array_equal(found.loss_mask[i], row.loss_mask) and found.loss_mask[i].dtype == bool
    assert found.truncated.tolist() == [row.truncated for row in usable] and any(found.truncated)
    assert found.response_lengths.tolist() == [int(row.loss_mask.sum()) for row in usable]


def test_shards_are_encoded_as_by_themselves(tokenizer):
    conversations = [(chat("q", "word " * n, **({"weight": 0} if n == 4 else {})), None) for n in range(1, 12)]
    parts = [conversations[:3], [], conversations[3:4], conversations[4:]]
    found = list(encode_shards(tokenizer, parts, 10))
    assert [len(rows) for rows in found] == [3, 0, 1, 7]
    assert found[2][0].reason == "no token of a reply to learn from"
    for row, conversation in zip([row for rows in found for row in rows], conversations, strict=True):
        [alone] = encode_rows(tokenizer, [conversation], 10)
        assert np.array_equal(row.input_ids, alone.input_ids) and np.array_equal(row.loss_mask, alone.loss_mask)
        assert (row.truncated, row.reason) == (alone.truncated, alone.reason)
