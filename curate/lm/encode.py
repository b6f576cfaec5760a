"""Rows of a pool as token ids and loss masks."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from curate.lm.chat import ChatFormat, MaskError, Message, Rendered
from curate.lm.encodings import ENCODING_TYPE

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

ENCODE_VERSION = 3  # raise it when the same conversation would give other ids or another mask


@dataclass(frozen=True)
class EncodedRow:
    """One conversation: int32 ids [T], bool mask [T], whether it was cut; or the reason why it cannot be used."""

    input_ids: np.ndarray
    loss_mask: np.ndarray
    truncated: bool
    reason: str | None = None

    @classmethod
    def failed(cls, reason: str) -> "EncodedRow":
        return cls(np.zeros(0, np.int32), np.zeros(0, bool), False, reason)


Conversation = tuple[Sequence[Message], list | None]  # messages and tools


def encode_rows(tokenizer: "PreTrainedTokenizerBase", conversations: Iterable[Conversation], max_length: int) -> list[EncodedRow]:
    """Encode (messages, tools) pairs; tokens past `max_length` are cut off and the row says so.

    A row whose template fails, whose mask cannot be checked or whose replies are cut off entirely carries a reason
    and no tokens. The shape of the result follows the input.
    """
    [rows] = encode_shards(tokenizer, [conversations], max_length)
    return rows


def encode_shards(
    tokenizer: "PreTrainedTokenizerBase", shards: Iterable[Iterable[Conversation]], max_length: int
) -> Iterator[list[EncodedRow]]:
    """`encode_rows` for one shard after the other.

    While the tokenizer, which leaves Python for that, is at one shard, the next is printed and the one before is masked.
    """
    chat_format = ChatFormat(tokenizer)
    with ThreadPoolExecutor(1) as thread:
        before: tuple[list[Rendered | str], Future[BatchEncoding | None]] | None = None
        for shard in shards:
            rendered = [_rendered(chat_format, *conversation) for conversation in shard]
            current = (
                rendered,
                thread.submit(_tokenised, tokenizer, [item.text for item in rendered if isinstance(item, Rendered)]),
            )
            if before is not None:
                yield _masked(chat_format, before[0], before[1].result(), max_length)
            before = current
        if before is not None:
            yield _masked(chat_format, before[0], before[1].result(), max_length)


def to_arrow(rows: Sequence[EncodedRow]) -> pa.StructArray:
    """The rows as the store keeps them, of ENCODING_TYPE, null where a row cannot be used."""
    lengths = np.array([len(row.input_ids) for row in rows], dtype=np.int64)
    cuts = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    ids = pa.array(np.concatenate([np.zeros(0, np.int32), *(row.input_ids for row in rows)]), pa.int32())
    mask = pa.array(np.concatenate([np.zeros(0, bool), *(row.loss_mask for row in rows)]), pa.bool_())
    return pa.StructArray.from_arrays(
        [
            pa.ListArray.from_arrays(cuts, ids),
            pa.ListArray.from_arrays(cuts, mask),
            pa.array([row.truncated for row in rows], pa.bool_()),
        ],
        fields=list(ENCODING_TYPE),
        mask=pa.array([row.reason is not None for row in rows], pa.bool_()),
    )


def _rendered(chat_format: ChatFormat, messages: Sequence[Message], tools: list | None) -> Rendered | str:
    try:
        return chat_format.render(messages, tools)
    except MaskError as error:
        return str(error)


def _tokenised(tokenizer: "PreTrainedTokenizerBase", texts: list[str]) -> "BatchEncoding | None":
    if not texts:
        return None
    return tokenizer(texts, add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False)


def _masked(
    chat_format: ChatFormat, rendered: Sequence[Rendered | str], batch: "BatchEncoding | None", max_length: int
) -> list[EncodedRow]:
    rows, position = [], 0
    for item in rendered:
        if isinstance(item, str):
            rows.append(EncodedRow.failed(item))
            continue
        assert batch is not None and batch.encodings is not None
        input_ids = np.array(batch["input_ids"][position], dtype=np.int32)
        tokens = batch.encodings[position]
        position += 1
        try:
            mask = chat_format.mask(item, input_ids, tokens)
        except MaskError as error:
            rows.append(EncodedRow.failed(str(error)))
            continue
        rows.append(_truncate(input_ids, mask, max_length))
    return rows


def _truncate(input_ids: np.ndarray, mask: np.ndarray, max_length: int) -> EncodedRow:
    # The first token has nothing before it to be predicted from, so it never counts in the loss.
    mask[:1] = False
    if not mask.any():
        return EncodedRow.failed("no token of a reply to learn from")
    if not mask[:max_length].any():
        return EncodedRow.failed(f"the reply is cut off entirely at {max_length} tokens")
    return EncodedRow(input_ids[:max_length], mask[:max_length], len(input_ids) > max_length)
