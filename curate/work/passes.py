"""One pass: a model over the rows of a view that lack something, shard by shard, into the store."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from curate.fitting import Fitting
from curate.jobs import Kind
from curate.lm.models import forward_flops
from curate.lm.observables import OBSERVABLES, PER_ROW, POOLED
from curate.lm.views import (
    INSTRUCTION_AFTER_RESPONSE,
    NO_ROOM,
    RESPONSE,
    Asked,
    PairView,
    RowView,
    View,
    printed_once,
    start_token,
)
from curate.passes import SHARD_TOKENS, Done, record_part, view_parts
from curate.plan import Pass, base_model, pass_name
from curate.requests import Pairs
from curate.signals import RowScore, RowTokens, RowVector, as_vectors
from curate.store import RowArtifact
from curate.wording import at_lines, counted
from curate.work.base import RowWork, kept_values


@dataclass(frozen=True)
class PassPiece:
    """A pass over what is missing of one shard.

    key    of the model whose weights are in `folder`.
    specs  where the values of each observable are kept.
    """

    name: str
    key: str
    folder: Path
    view: View
    specs: Mapping[str, Mapping[str, Any]]
    kind: ClassVar[Kind] = "pass"

    def run(self, engine: Fitting, advance: Callable[[int], None]) -> Done:
        kept = {name: engine.store.rows(spec, OBSERVABLES[name].type) for name, spec in self.specs.items()}
        network = engine.load_for_pass(self.key, self.folder)
        return record_part(network, self.view, kept, batch_tokens=engine.batch_tokens, progress=advance)


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
            return self._noted(PairView.of(*both, rows.index, engine.pair_limit(model), once), engine.pair_limit(model))
        encodings, view = engine.encodings(model, rows), self.step.view
        start = start_token(engine.tokenizer(model)) if view == RESPONSE else None
        asked = Asked.by(engine.tokenizer(model), engine.pair_limit(model)) if view == INSTRUCTION_AFTER_RESPONSE else None
        return RowView.of(encodings, view, start, asked)

    def _noted(self, view: PairView, limit: int) -> PairView:
        """The pairs, once it is said where an example is not seen whole."""
        pairs = self.step.rows
        assert isinstance(pairs, Pairs)
        no_room = view.reasons == NO_ROOM
        if view.cut.any():
            cut, none, all_of_them = int((view.cut & ~no_room).sum()), int(no_room.sum()), counted(len(view), "pair")
            said = f"the example is cut in {cut:,} of the {all_of_them} of {pairs.role} and has no room in {none:,}, "
            said += f"since a row and its example are at most {limit:,} tokens"
            if none:
                table = self.engine.pool_of(pairs.rows).rows.select(["file", "line"])
                full = table.take(np.unique(view.index[no_room, 0])).to_pylist()
                said += f"; no room for any: {at_lines([(place['file'], place['line']) for place in full])}"
            self.engine.note(said)
        return view

    def artifacts(self) -> dict[str, RowArtifact]:
        return {name: self.artifact(name) for name in self.step.recorded}

    def artifact(self, name: str) -> RowArtifact:
        """Where one observable is kept."""
        step, engine = self.step, self.engine
        spec = engine.observable_spec(engine.model_hash(step.model), base_model(step.model), step.view, name)
        return engine.store.rows(spec, OBSERVABLES[name].type)

    def tokens(self, positions: np.ndarray) -> int:
        """Less than the rows hold where several stand behind one example."""
        pooled = any(name in (*POOLED, *PER_ROW) for name in self.step.needs)
        return self.view().forwarded(positions, SHARD_TOKENS, pooled) if self.step.forwards else 0

    def flops(self, tokens: int) -> float:
        return forward_flops(base_model(self.step.model), tokens)

    def compute(self, missing: np.ndarray, advance: Callable[[int], None]) -> Done:
        engine, model, name = self.engine, self.step.model, self.name()
        key, folder = engine.model_hash(model), engine.folder(model)
        specs = {name: artifact.spec for name, artifact in self.artifacts().items()}
        shards = view_parts(self.view(), missing)
        return self.spread((PassPiece(name, key, folder, view, specs) for view in shards), advance)

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
