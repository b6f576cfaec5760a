"""One pass: a model over the rows of a view that lack something, shard by shard, into the store."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from curate.fitting import Fitting
from curate.lm.models import forward_flops
from curate.lm.observables import OBSERVABLES, POOLED
from curate.lm.views import RESPONSE, PairView, RowView, View, printed_once, start_token
from curate.passes import SHARD_TOKENS, Done, record
from curate.plan import Pass, base_model, pass_name
from curate.requests import Pairs
from curate.signals import RowScore, RowTokens, RowVector, as_vectors
from curate.store import RowArtifact
from curate.work.base import RowWork, kept_values

if TYPE_CHECKING:
    pass


class Passing(RowWork):
    """A pass: one run of one model over one view of some rows, recording observables."""

    kind = "pass"

    def __init__(self, engine: Fitting, step: Pass) -> None:
        super().__init__(engine, step.rows, step.model)
        self.step = step

    def name(self, missing: int = 0) -> str:
        return pass_name(self.step, missing)

    def view(self) -> View:
        """The rows or pairs as the model sees them."""
        engine, rows, model = self.engine, self.step.rows, base_model(self.step.model)
        if isinstance(rows, Pairs):
            once = printed_once(engine.tokenizer(model))
            both = engine.encodings(model, rows.rows), engine.encodings(model, rows.examples)
            return PairView.of(*both, rows.index, engine.pair_limit(model), once)
        start = start_token(engine.tokenizer(model)) if self.step.view == RESPONSE else None
        return RowView.of(engine.encodings(model, rows), self.step.view, start)

    def artifacts(self) -> dict[str, RowArtifact]:
        return {name: self.artifact(name) for name in self.step.recorded}

    def artifact(self, name: str) -> RowArtifact:
        """Where one observable is kept."""
        step, engine = self.step, self.engine
        spec = engine.observable_spec(engine.model_hash(step.model), base_model(step.model), step.view, name)
        return engine.store.rows(spec, OBSERVABLES[name].type)

    def tokens(self, positions: np.ndarray) -> int:
        """Less than the rows hold where several stand behind one example."""
        pooled = any(name in POOLED for name in self.step.needs)
        return self.view().forwarded(positions, SHARD_TOKENS, pooled) if self.step.forwards else 0

    def flops(self, tokens: int) -> float:
        return forward_flops(base_model(self.step.model), tokens)

    def compute(self, missing: np.ndarray, advance: Callable[[int], None]) -> Done:
        return record(
            self.engine.load(self.step.model),
            self.view(),
            missing,
            self.artifacts(),
            batch_tokens=self.engine.batch_tokens,
            progress=advance,
        )

    def answer(self) -> RowScore | RowVector | RowTokens:
        """The first of its observables; null where the pass failed on a row."""
        observable, view = OBSERVABLES[self.step.observables[0]], self.view()
        if not observable.forward:
            rows = view.take(np.arange(len(view)))
            pairs = zip(rows.lengths, rows.response_lengths, strict=True)
            return RowScore.of(np.array([observable.reduce(total, scored) for total, scored in pairs], dtype=np.float64))
        artifact = self.artifact(observable.name)
        values, there, reasons = kept_values(artifact, view.row_ids, self.engine.failures(artifact))
        if not pa.types.is_list(observable.type):
            numbers = np.full(len(view), np.nan)
            numbers[there] = values.to_numpy(zero_copy_only=False)
            return RowScore(numbers, reasons)
        if observable.vector:
            return as_vectors(values, there, reasons)
        arrays: list[np.ndarray | None] = [None] * len(view)
        for i, value in zip(there.tolist(), values.to_pylist(), strict=True):
            arrays[i] = None if value is None else np.asarray(value, np.float32)
        return RowTokens(arrays, reasons)
