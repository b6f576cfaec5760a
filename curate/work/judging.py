"""A model's own yes or no to questions about rows, kept row by row."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curate.embedding.texts import dialogue
from curate.fitting import Fitting
from curate.lm.batching import shards_by_tokens
from curate.lm.models import forward_flops
from curate.lm.observables import FORWARD_VERSION, JUDGE_VERSION
from curate.lm.views import NOTHING_TO_SEE
from curate.passes import NOT_FINITE, SHARD_TOKENS, Done
from curate.plan import base_model, judge_name
from curate.requests import Judge
from curate.signals import RowVector, as_vectors
from curate.store import RowArtifact
from curate.work.base import RowWork, ids_hash, kept_values


class Judging(RowWork):
    """The log-odds of yes against no behind each question about each row."""

    kind = "judge"

    def __init__(self, engine: Fitting, asked: Judge) -> None:
        super().__init__(engine, asked.rows, asked.model)
        self.asked, self.base = asked, base_model(asked.model)

    def name(self, missing: int = 0) -> str:
        return judge_name(self.asked, missing)

    def artifacts(self) -> dict[str, RowArtifact]:
        asked, engine = self.asked, self.engine
        spec = {
            "kind": "judgement",
            "version": [JUDGE_VERSION, FORWARD_VERSION],
            "model": engine.model_hash(asked.model),
            "encoding": engine.encoding_spec(self.base),
            "asked": [asked.before, list(asked.behind), list(asked.yes), list(asked.no), asked.view],
            "dtype": engine.pass_dtype,
            **({"instead": [asked.instead.fingerprint, ids_hash(engine.ids(asked.rows))]} if asked.instead else {}),
        }
        return {"log_odds": engine.store.rows(spec, pa.list_(pa.float32()))}

    def tokens(self, positions: np.ndarray) -> int:
        """About, and no more than a conversation's limit for each: texts have no tokens of the chat template."""
        tokenizer, limit = self.engine.tokenizer(self.base), self.engine.length_limit(self.base)
        texts = (self.asked.before, *self.asked.behind)
        more = sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)
        lengths = self.engine.encodings(self.base, self.asked.rows).lengths[positions]
        return int(np.minimum(lengths + more, limit).sum())

    def flops(self, tokens: int) -> float:
        return forward_flops(self.base, tokens)

    def compute(self, missing: np.ndarray, advance: Callable[[int], None]) -> Done:
        from curate.lm.judging import apart, asked_of, log_odds

        asked, engine = self.asked, self.engine
        [artifact], tokenizer = self.artifacts().values(), engine.tokenizer(self.base)
        network, pool, limit = engine.load(asked.model), engine.pool_of(asked.rows), engine.length_limit(self.base)
        yes, no = apart(tokenizer, asked.yes, asked.no)
        result = Done()

        def count(tokens: int) -> None:
            result.tokens += tokens
            advance(tokens)

        wanted = np.zeros(len(pool), dtype=bool)
        wanted[missing] = True
        for shard in shards_by_tokens(engine.encodings(self.base, asked.rows).lengths, SHARD_TOKENS):
            part = shard[wanted[shard]]
            if not len(part):
                continue
            began = time.perf_counter()
            told = zip(part.tolist(), (messages for messages, _ in pool.conversations(part)), strict=True)
            texts = [dialogue(self._messages(i, messages), asked.view) for i, messages in told]
            there = [i for i, text in enumerate(texts) if text]
            ids, places = asked_of(tokenizer, [texts[i] for i in there], asked.before, asked.behind, limit)
            found: list[np.ndarray | str] = [NOTHING_TO_SEE] * len(part)
            for position, odds in log_odds(network, ids, places, yes, no, batch_tokens=engine.batch_tokens, progress=count):
                found[there[position]] = odds
            self._keep(artifact, [pool.row_ids[i] for i in part.tolist()], found, result, time.perf_counter() - began)
        return result

    def _messages(self, i: int, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those of row i, its last reply the one that it is taken to be; none where there is no such reply."""
        if self.asked.instead is None:
            return messages
        text = self.asked.instead.texts[i]
        said = [n for n, message in enumerate(messages) if message["role"] == "assistant"]
        return [] if text is None or not said else [*messages[: said[-1]], {"role": "assistant", "content": text}]

    def _keep(
        self, artifact: RowArtifact, row_ids: Sequence[str], found: Sequence[np.ndarray | str], result: Done, seconds: float
    ) -> None:
        """Into the store, but for rows on which the model failed: another run may have the means."""
        failed = {i: one for i, one in enumerate(found) if isinstance(one, str) and one != NOTHING_TO_SEE}
        result.failed |= {row_ids[i]: why for i, why in failed.items()}
        kept = [i for i in range(len(found)) if i not in failed]
        sound = [not isinstance(found[i], str) and bool(np.isfinite(found[i]).all()) for i in kept]
        reasons = [None if fine else NOTHING_TO_SEE if isinstance(found[i], str) else NOT_FINITE for i, fine in zip(kept, sound)]
        values = [found[i] if fine else None for i, fine in zip(kept, sound)]
        artifact.put([row_ids[i] for i in kept], values, reasons, seconds)

    def answer(self) -> RowVector:
        [artifact] = self.artifacts().values()
        values, there, reasons = kept_values(artifact, self.engine.ids(self.rows), self.engine.failures(artifact))
        return as_vectors(values, there, reasons)
