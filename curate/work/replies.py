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
from curate.work.prompts import Prompt, asked_spec, last_turn, prompts_of, split

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

REPLY_VERSION = 1  # raise it when the same model and row would give another reply, or another number of it
_FIELDS = [("text", pa.string()), ("mean_loss", pa.float64()), ("overlap", pa.float64()), ("tokens", pa.int64())]
REPLY_TYPE = pa.struct(_FIELDS)
ATTENTIVE_TYPE = pa.struct([*_FIELDS, ("attention", pa.list_(pa.float64()))])
READ = 2  # times that a model runs over question and reply: to write it, and to say how likely it was
NO_ROOM = "the question fills the model's context"


def overlap(reply: np.ndarray, gold: np.ndarray) -> float:
    """F1 of two replies as bags of tokens: 1 where they have the same ones, 0 where they share none."""
    shared = sum((Counter(reply.tolist()) & Counter(gold.tolist())).values())
    return 2 * shared / (len(reply) + len(gold)) if len(reply) + len(gold) else 1.0


class Replying(RowWork):
    """A model's own reply to the last question of each row, or to what is asked instead."""

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
            **({"drawn": [self.asked.temperature, self.asked.seed]} if self.asked.temperature else {}),
            **({"ask": asked_spec(self.engine, self.asked)} if self.asked.ask else {}),
            **later_version("generate", GENERATE_VERSION),
        }
        looks = self.asked.ask is not None and self.asked.ask.attention is not None
        return {"reply": self.engine.store.rows(spec, ATTENTIVE_TYPE if looks else REPLY_TYPE)}

    def tokens(self, positions: np.ndarray) -> int:
        """As if every reply had the length allowed."""
        lengths = self.engine.encodings(self.base, self.asked.rows).lengths[positions]
        if (ask := self.asked.ask) and ask.examples:
            shown = self.engine.encodings(self.base, ask.examples.rows).lengths[ask.examples.index[positions]].sum(axis=1)
            lengths = np.minimum(lengths + shown, context_length(self.base.folder()) or np.inf).astype(np.int64)
        return READ * (int(lengths.sum()) + self.asked.max_new_tokens * len(positions))

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
            self.asked,
            prompts_of(self.engine, self.asked, self.base),
            context=context_length(self.base.folder()),
            batch_tokens=self.engine.batch_tokens,
            progress=advance,
        )

    def answer(self) -> Replies:
        table = self.artifacts()["reply"].get(self.engine.ids(self.asked.rows))
        said = [value or {"text": None, "mean_loss": np.nan, "overlap": np.nan} for value in table["value"].to_pylist()]
        loss, shared = (np.array([value[name] for value in said], dtype=np.float64) for name in ("mean_loss", "overlap"))
        reasons = np.array(table["reason"].to_pylist(), dtype=object)
        attention = None
        if (ask := self.asked.ask) and ask.attention is not None and ask.examples:
            none = [None] * ask.examples.index.shape[1]
            attention = np.array([value.get("attention") or none for value in said], dtype=np.float64).reshape(len(said), -1)
        turns = (last_turn(messages) for messages, _ in self.engine.pool_of(self.asked.rows).conversations())
        own = [turn[1]["content"] if turn else None for turn in turns]
        return Replies([value["text"] for value in said], loss, shared, reasons, attention, own)


def record(
    network: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    rows: Encodings,
    missing: np.ndarray,
    artifact: RowArtifact,
    asked: Generate,
    prompts_of: Callable[[np.ndarray], list[Prompt | str]],
    *,
    context: int | None,
    batch_tokens: int,
    progress: Callable[[int], None],
) -> Done:
    """Let a model reply to rows that lack it, and keep each reply's text, mean loss and overlap with the row's own.

    prompts_of  the prompt of the rows at some positions, or why there is none.
    mean_loss   nats per token of the reply under the model itself, its end included where the model ended it.
    overlap     see there, of token ids, ends of turns left out. tokens: that the model ran over.
    """
    from curate.lm.attention import attention_to_sections
    from curate.lm.forward import mean_losses
    from curate.lm.generate import decode, generate_ids, stop_ids

    result, most = Done(), asked.max_new_tokens
    wanted = np.zeros(len(rows), dtype=bool)
    wanted[missing] = True
    stop = stop_ids(network, tokenizer)
    for shard in shards_by_tokens(rows.lengths + most, SHARD_TOKENS):
        part = shard[wanted[shard]]
        if not len(part):
            continue
        began = time.perf_counter()
        given = prompts_of(part)
        there = {n: prompt for n, prompt in enumerate(given) if isinstance(prompt, Prompt)}
        fits = [n for n, prompt in there.items() if 0 < len(prompt.ids) < (context or len(prompt.ids) + 1)]
        prompts = [there[n].ids for n in fits]
        ids = [rows.row_ids[i] for i in part]
        replies = generate_ids(
            network, prompts, stop=stop, max_new_tokens=most, temperature=asked.temperature, seed=asked.seed,
            batch_tokens=batch_tokens, streams=[int(ids[n][:15], 16) for n in fits],
        )  # fmt: skip
        whole, masks = [], []
        golds = [split(rows.input_ids[part[n]], rows.loss_mask[part[n]])[1] for n in fits]
        for prompt, reply, gold in zip(prompts, replies, golds, strict=True):
            room = min(most, (context or len(prompt) + most) - len(prompt))
            ended = _end(gold, stop) if len(reply) < room else reply[:0]
            whole.append(np.concatenate([prompt, reply, ended]))
            masks.append(np.arange(len(whole[-1])) >= len(prompt))
        again = Encodings([ids[n] for n in fits], whole, masks, np.zeros(len(fits), dtype=bool))
        losses = mean_losses(network, again, batch_tokens=batch_tokens)[0]
        values: list[Any] = [None] * len(part)
        reasons = [prompt if isinstance(prompt, str) else NO_ROOM for prompt in given]
        told = zip(fits, decode(tokenizer, replies), replies, golds, losses.tolist(), again.lengths.tolist(), strict=True)
        for n, text, reply, gold, loss, length in told:
            gold = gold[:-1] if gold[-1] in stop else gold  # a row that was cut has no end
            values[n] = {"text": text, "mean_loss": loss, "overlap": overlap(reply, gold), "tokens": READ * length}
            if asked.ask and asked.ask.attention is not None and (starts := there[n].starts) is not None:
                looked = attention_to_sections(network, there[n].ids, starts, asked.ask.attention)
                values[n]["attention"] = [*looked.tolist(), *[None] * (there[n].examples - len(looked))]
        kept_reasons = [None if value else why for value, why in zip(values, reasons, strict=True)]
        artifact.put(ids, values, kept_reasons, time.perf_counter() - began)
        done = READ * int(again.lengths.sum())
        result.tokens += done
        progress(done)
    return result


def _end(gold: np.ndarray, stop: Sequence[int]) -> np.ndarray:
    """The token that ended a reply: the one that ends the row's own, or where that was cut the first that may."""
    return gold[-1:] if gold[-1] in stop else np.array(stop[:1], dtype=gold.dtype)
