"""A model's own replies to the last question of rows, kept row by row."""

import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from curate.lm.batching import shards_by_tokens
from curate.lm.encodings import Encodings
from curate.store import RowArtifact

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

REPLY_VERSION = 1  # raise it when the same model and row would give another reply, or another number of it
REPLY_TYPE = pa.struct([("text", pa.string()), ("mean_loss", pa.float64()), ("overlap", pa.float64())])
NO_ROOM = "the question fills the model's context"


def split(ids: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(int [P], int [R]): the tokens before a row's last reply, and those of it, the token that ends the turn included."""
    end = int(np.flatnonzero(mask)[-1]) + 1
    start = int(np.flatnonzero(~mask[:end])[-1]) + 1 if not mask[:end].all() else 0
    return ids[:start], ids[start:end]


def overlap(reply: np.ndarray, gold: np.ndarray) -> float:
    """F1 of two replies as bags of tokens: 1 where they have the same ones, 0 where they share none."""
    shared = sum((Counter(reply.tolist()) & Counter(gold.tolist())).values())
    return 2 * shared / (len(reply) + len(gold)) if len(reply) + len(gold) else 1.0


def record_replies(
    network: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    rows: Encodings,
    missing: np.ndarray,
    artifact: RowArtifact,
    *,
    max_new_tokens: int,
    context: int | None,
    batch_tokens: int,
    shard_tokens: int,
    progress: Callable[[int], None],
) -> int:
    """Let a model reply, greedily, to rows that lack it, and keep each reply's text, mean loss and overlap with the row's own.

    mean_loss  nats per token of the reply under the model itself, its end included where the model ended it.
    overlap    see there, of token ids.
    Returns the tokens read and written.
    """
    from curate.lm.forward import mean_losses
    from curate.lm.generate import decode, generate_ids, stop_ids

    total = 0
    wanted = np.zeros(len(rows), dtype=bool)
    wanted[missing] = True
    stop = stop_ids(network, tokenizer)
    for shard in shards_by_tokens(rows.lengths + max_new_tokens, shard_tokens):
        part = shard[wanted[shard]]
        if not len(part):
            continue
        began = time.perf_counter()
        halves = [split(rows.input_ids[i], rows.loss_mask[i]) for i in part]
        fits = [n for n, (prompt, _) in enumerate(halves) if 0 < len(prompt) < (context or len(prompt) + 1)]
        prompts = [halves[n][0].astype(np.int64) for n in fits]
        replies = generate_ids(network, prompts, stop=stop, max_new_tokens=max_new_tokens, batch_tokens=batch_tokens)
        whole, masks = [], []
        for n, prompt, reply in zip(fits, prompts, replies, strict=True):
            room = min(max_new_tokens, (context or len(prompt) + max_new_tokens) - len(prompt))
            ended = halves[n][1][-1:] if len(reply) < room else reply[:0]
            whole.append(np.concatenate([prompt, reply, ended]))
            masks.append(np.arange(len(whole[-1])) >= len(prompt))
        again = Encodings([rows.row_ids[part[n]] for n in fits], whole, masks, np.zeros(len(fits), dtype=bool))
        losses = mean_losses(network, again, batch_tokens=batch_tokens)[0]
        values: list[Any] = [None] * len(part)
        for n, text, reply, loss in zip(fits, decode(tokenizer, replies), replies, losses.tolist(), strict=True):
            gold = halves[n][1]
            values[n] = {"text": text, "mean_loss": loss, "overlap": overlap(reply, gold[:-1] if len(gold) > 1 else gold)}
        ids = [rows.row_ids[i] for i in part]
        artifact.put(ids, values, [None if value else NO_ROOM for value in values], time.perf_counter() - began)
        done = int(again.lengths.sum())
        total += done
        progress(done)
    return total
