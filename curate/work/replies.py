"""A model's own replies to the last question of rows, kept row by row."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from curate.fitting import Fitting
from curate.lm.batching import shards_by_tokens
from curate.lm.encodings import Encodings
from curate.lm.models import context_length, forward_flops
from curate.lm.observables import FORWARD_VERSION, GENERATE_VERSION
from curate.passes import SHARD_TOKENS, Done
from curate.plan import base_model, replies_name
from curate.requests import Generate, Replies
from curate.store import RowArtifact
from curate.versions import later_version
from curate.work.base import RowWork

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

REPLY_VERSION = 1  # raise it when the same model and row would give another reply, or another number of it
REPLY_TYPE = pa.struct([("text", pa.string()), ("mean_loss", pa.float64()), ("overlap", pa.float64()), ("tokens", pa.int64())])
READ = 2  # times that a model runs over question and reply: to write it, and to say how likely it was
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


class Replying(RowWork):
    """A model's own, greedy reply to the last question of each row."""

    kind = "replies"

    def __init__(self, engine: Fitting, asked: Generate) -> None:
        super().__init__(engine, asked.rows, asked.model)
        self.asked, self.base = asked, base_model(asked.model)

    def name(self, missing: int = 0) -> str:
        return replies_name(self.asked, missing)

    def artifacts(self) -> dict[str, RowArtifact]:
        spec = {
            "kind": "reply",
            "version": [REPLY_VERSION, FORWARD_VERSION],
            "model": self.engine.model_hash(self.asked.model),
            "encoding": self.engine.encoding_spec(self.base),
            "max_new_tokens": self.asked.max_new_tokens,
            "dtype": self.engine.pass_dtype,
            **later_version("generate", GENERATE_VERSION),
        }
        return {"reply": self.engine.store.rows(spec, REPLY_TYPE)}

    def tokens(self, positions: np.ndarray) -> int:
        """As if every reply had the length allowed."""
        lengths = self.engine.encodings(self.base, self.asked.rows).lengths
        return READ * (int(lengths[positions].sum()) + self.asked.max_new_tokens * len(positions))

    def cost(self) -> tuple[float, float]:
        """By the replies' own lengths."""
        kept = self.artifacts()["reply"].get(self.engine.ids(self.asked.rows))["value"].to_pylist()
        return super().cost()[0], self.flops(sum(value["tokens"] for value in kept if value))

    def flops(self, tokens: int) -> float:
        return forward_flops(self.base, tokens)

    def compute(self, missing: np.ndarray, advance: Callable[[int], None]) -> Done:
        return record(
            self.engine.load(self.asked.model),
            self.engine.tokenizer(self.base),
            self.engine.encodings(self.base, self.asked.rows),
            missing,
            self.artifacts()["reply"],
            max_new_tokens=self.asked.max_new_tokens,
            context=context_length(self.base.folder()),
            batch_tokens=self.engine.batch_tokens,
            progress=advance,
        )

    def answer(self) -> Replies:
        table = self.artifacts()["reply"].get(self.engine.ids(self.asked.rows))
        said = [value or {"text": None, "mean_loss": np.nan, "overlap": np.nan} for value in table["value"].to_pylist()]
        loss, shared = (np.array([value[name] for value in said], dtype=np.float64) for name in ("mean_loss", "overlap"))
        reasons = np.array(table["reason"].to_pylist(), dtype=object)
        return Replies([value["text"] for value in said], loss, shared, reasons)


def record(
    network: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    rows: Encodings,
    missing: np.ndarray,
    artifact: RowArtifact,
    *,
    max_new_tokens: int,
    context: int | None,
    batch_tokens: int,
    progress: Callable[[int], None],
) -> Done:
    """Let a model reply, greedily, to rows that lack it, and keep each reply's text, mean loss and overlap with the row's own.

    mean_loss  nats per token of the reply under the model itself, its end included where the model ended it.
    overlap    see there, of token ids, ends of turns left out. tokens: that the model ran over.
    """
    from curate.lm.forward import mean_losses
    from curate.lm.generate import decode, generate_ids, stop_ids

    result = Done()
    wanted = np.zeros(len(rows), dtype=bool)
    wanted[missing] = True
    stop = stop_ids(network, tokenizer)
    for shard in shards_by_tokens(rows.lengths + max_new_tokens, SHARD_TOKENS):
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
            ended = _end(halves[n][1], stop) if len(reply) < room else reply[:0]
            whole.append(np.concatenate([prompt, reply, ended]))
            masks.append(np.arange(len(whole[-1])) >= len(prompt))
        again = Encodings([rows.row_ids[part[n]] for n in fits], whole, masks, np.zeros(len(fits), dtype=bool))
        losses = mean_losses(network, again, batch_tokens=batch_tokens)[0]
        values: list[Any] = [None] * len(part)
        told = zip(fits, decode(tokenizer, replies), replies, losses.tolist(), again.lengths.tolist(), strict=True)
        for n, text, reply, loss, length in told:
            gold = halves[n][1]
            gold = gold[:-1] if gold[-1] in stop else gold  # a row that was cut has no end
            values[n] = {"text": text, "mean_loss": loss, "overlap": overlap(reply, gold), "tokens": READ * length}
        ids = [rows.row_ids[i] for i in part]
        artifact.put(ids, values, [None if value else NO_ROOM for value in values], time.perf_counter() - began)
        done = READ * int(again.lengths.sum())
        result.tokens += done
        progress(done)
    return result


def _end(gold: np.ndarray, stop: Sequence[int]) -> np.ndarray:
    """The token that ended a reply: the one that ends the row's own, or where that was cut the first that may."""
    return gold[-1:] if gold[-1] in stop else np.array(stop[:1], dtype=gold.dtype)
