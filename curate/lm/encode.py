"""Rows of a pool as token ids and loss masks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from curate.lm.chat import ChatFormat, MaskError, Message, Rendered

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

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


def encode_rows(
    tokenizer: "PreTrainedTokenizerBase",
    conversations: Iterable[tuple[Sequence[Message], list | None]],
    max_length: int,
) -> list[EncodedRow]:
    """Encode (messages, tools) pairs; tokens past `max_length` are cut off and the row says so.

    A row whose template fails, whose mask cannot be checked or whose replies are cut off entirely carries a reason
    and no tokens. The shape of the result follows the input.
    """
    chat_format = ChatFormat(tokenizer)
    rendered: list[Rendered | str] = []
    for messages, tools in conversations:
        try:
            rendered.append(chat_format.render(messages, tools))
        except MaskError as error:
            rendered.append(str(error))
    texts = [item.text for item in rendered if isinstance(item, Rendered)]
    if not texts:
        return [EncodedRow.failed(str(item)) for item in rendered]
    batch = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False)
    rows, position = [], 0
    for item in rendered:
        if isinstance(item, str):
            rows.append(EncodedRow.failed(item))
            continue
        input_ids = np.array(batch["input_ids"][position], dtype=np.int32)
        offsets = np.array(batch["offset_mapping"][position], dtype=np.int64).reshape(-1, 2)
        position += 1
        try:
            mask = chat_format.mask(item, input_ids, offsets)
        except MaskError as error:
            rows.append(EncodedRow.failed(str(error)))
            continue
        rows.append(_truncate(input_ids, mask, max_length))
    return rows


def _truncate(input_ids: np.ndarray, mask: np.ndarray, max_length: int) -> EncodedRow:
    # The first token has nothing before it to be predicted from, so it never counts in the loss.
    mask = mask.copy()
    mask[:1] = False
    if not mask.any():
        return EncodedRow.failed("no token of a reply to learn from")
    if not mask[:max_length].any():
        return EncodedRow.failed(f"the reply is cut off entirely at {max_length} tokens")
    return EncodedRow(input_ids[:max_length], mask[:max_length], len(input_ids) > max_length)
