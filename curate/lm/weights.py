"""How much the tokens of a reply count in training: the `weight` of its message, as OpenAI's format has it.

Weights of 0 and 1 are the loss mask's own, so all that is kept of most pools is the mask. The others are found here, for the
rows that have any, and kept beside the token ids. They count in trainings alone: what scores and evaluates reads the mask.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.lm.chat import ChatFormat, Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from curate.pool import Pool

WEIGHT_VERSION = 1  # raise it when the same conversation would get other weights
WEIGHT_TYPE = pa.list_(pa.float32())


def weighted_rows(pool: "Pool") -> np.ndarray:
    """int64: positions of the rows in which a reply has a weight other than 0 and 1."""
    column = pool.rows["messages"]
    if column.type.value_type.get_field_index("weight") < 0:
        return np.zeros(0, dtype=np.int64)
    found, start = [], 0
    for lists in column.chunks:
        messages = lists.flatten()
        weight = messages.field("weight")
        other = pc.and_(pc.equal(messages.field("role"), "assistant"), pc.invert(pc.is_in(weight, pa.array([0.0, 1.0, None]))))
        rows = pc.list_parent_indices(lists).filter(other).to_numpy()
        found.append(np.unique(rows).astype(np.int64) + start)
        start += len(lists)
    return np.concatenate(found)


def encode_weights(
    tokenizer: "PreTrainedTokenizerBase",
    conversations: Iterable[tuple[Sequence[Message], list | None]],
    masks: Sequence[np.ndarray],
) -> list[np.ndarray]:
    """float32 [T] for each (messages, tools) pair: the weight of the reply that a token is of, 0 where the mask is False.

    masks: bool [T], the loss masks that `encode_rows` gave these conversations, truncated as they are.
    """
    chat_format, result = ChatFormat(tokenizer), []
    for (messages, tools), mask in zip(conversations, masks, strict=True):
        rendered = chat_format.render(messages, tools)
        batch = tokenizer(rendered.text, add_special_tokens=False, return_attention_mask=False)
        input_ids, tokens = np.array(batch["input_ids"], dtype=np.int32), batch.encodings[0]
        weights = np.zeros(len(input_ids), dtype=np.float32)
        for reply, (first, stop) in zip(rendered.replies, chat_format.spans(rendered, input_ids, tokens), strict=True):
            weights[first:stop] = 1.0 if (weight := messages[reply.message].get("weight")) is None else weight
        result.append(np.where(mask, weights[: len(mask)], np.float32(0)))
    return result
