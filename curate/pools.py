"""The pools of a run by handle, their rows as token ids, and the account of what was computed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from curate import progress
from curate.embedding.record import pool_texts
from curate.errors import InputError
from curate.jobs import Executor, Job, Loop
from curate.lm.encode import encode_shards, to_arrow
from curate.lm.encodings import ENCODING_TYPE, Encodings, check_same_tokens, from_arrow, highest_ids
from curate.lm.models import ModelSpec, token_ids, vocabulary_size
from curate.lm.views import NOTHING_TO_SEE, pair_id
from curate.lm.weights import WEIGHT_TYPE, encode_weights, weighted_rows
from curate.models import Models
from curate.pool.labels import TokenLabels
from curate.pool.prompts import prompt_keys
from curate.requests import Pairs, Prompts, Rows, Subset, Texts, Told
from curate.signals import RowValues
from curate.stages import Stage, Timer
from curate.store import RowArtifact
from curate.wording import rows_called

if TYPE_CHECKING:
    from curate.pool import Pool

ENCODE_SHARD = 5_000  # rows


@dataclass
class Pools(Models):
    """Holds pools under handles, tokenised once for each tokenizer."""

    executor: Executor = field(default_factory=Loop)
    stages: list[Stage] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._pools: dict[Rows | Subset, Pool] = {}
        self._encodings: dict[tuple[str, Rows], Encodings] = {}
        self._computed: dict[Rows, np.ndarray] = {}
        self._weighted: dict[Rows | Subset, bool] = {}

    def hold(self, role: str, pool: "Pool") -> Rows:
        """A handle on a pool as it is, for what no model has to read."""
        if not len(pool):
            raise InputError(f"{rows_called(role)} has no rows")
        rows = Rows(role, pool.fingerprint, len(pool), pool.labels.fingerprint if pool.labels else None)
        self._pools[rows] = pool
        self._computed.setdefault(rows, np.zeros(len(pool), dtype=bool))
        return rows

    def add(self, role: str, pool: "Pool", model: ModelSpec) -> tuple["Pool", Rows, dict[str, str]]:
        """Encode a pool for a model. Returns the rows that can be used, their handle, and row id -> why not."""
        artifact = self.store.rows(self.encoding_spec(model), ENCODING_TYPE)
        ids = pool.row_ids
        known = artifact.positions(ids)
        missing = np.flatnonzero(known < 0)
        if len(missing):
            encode = partial(self._encode, pool, missing, model, artifact)
            self.executor.run([Job("encode", f"tokenise {role} for {model.label}", encode)])
        table = artifact.get(ids)
        reasons = self._beyond(model, table) or table["reason"].to_pylist()
        failed = {row_id: reason for row_id, reason in zip(ids, reasons, strict=True) if reason is not None}
        usable = pool.subset([row_id for row_id in ids if row_id not in failed]) if failed else pool
        if not len(usable):
            raise InputError(f"no row of the {role} can be used by {model.label}: {reasons[0]}")
        rows = self.hold(role, usable)
        keep = np.array([reason is None for reason in reasons])
        encodings = from_arrow(usable.row_ids, table["value"].filter(pa.array(keep)))
        encodings = replace(encodings, weights=self._weights(usable, encodings, model))
        self._encodings[model.name, rows] = _labelled(encodings, usable.labels) if usable.labels else encodings
        self._computed[rows] |= (known < 0)[keep]
        return usable, rows, failed

    def _beyond(self, model: ModelSpec, table: pa.Table) -> list[str | None] | None:
        """The rows' reasons where the tokenizer has ids that the model's embedding has not, else None.

        Not kept with the token ids, which all models of one tokenizer share.
        """
        rows, (_, highest) = vocabulary_size(model.folder()), token_ids(model.folder())
        if rows is None or highest < rows:
            return None
        pairs = zip(table["reason"].to_pylist(), highest_ids(table["value"]).tolist(), strict=True)
        said = "its token {} is beyond the {:,} rows of the model's embedding"
        return [reason or (said.format(top, rows) if top >= rows else None) for reason, top in pairs]

    def knows(self, rows: Rows | Subset) -> bool:
        """Whether the pool behind a handle is held."""
        return (rows.rows if isinstance(rows, Subset) else rows) in self._pools

    def pool_of(self, rows: Rows | Subset) -> "Pool":
        """The pool behind a handle. KeyError where none is held."""
        if isinstance(rows, Subset) and rows not in self._pools:
            self._pools[rows] = self._pools[rows.rows].take(rows.index)
        return self._pools[rows]

    def encodings(self, model: ModelSpec, rows: Rows | Subset) -> Encodings:
        """The token ids of rows that were added; encodes them for another tokenizer when that is asked for."""
        if isinstance(rows, Subset):
            return self.encodings(model, rows.rows).take(rows.index)
        if (model.name, rows) not in self._encodings:
            pool = self._pools[rows]
            _, _, failed = self.add(rows.role, pool, model)
            if failed:
                raise InputError(
                    f"{len(failed)} rows of the {rows.role} cannot be used by {model.label} although another model "
                    f"takes them: {next(iter(failed.values()))}"
                )
        return self._encodings[model.name, rows]

    def _encode(self, pool: "Pool", missing: np.ndarray, model: ModelSpec, artifact: RowArtifact) -> None:
        tokenizer = self.tokenizer(model)
        limit = self.length_limit(model)
        ids = pool.row_ids
        with self.stage("encode", f"tokenise for {model.label}") as stage, progress.task("tokenise", len(missing)) as advance:
            parts = [missing[start : start + ENCODE_SHARD] for start in range(0, len(missing), ENCODE_SHARD)]
            shards = encode_shards(tokenizer, (pool.conversations(part) for part in parts), limit)
            for part, rows in zip(parts, shards, strict=True):
                artifact.put([ids[i] for i in part.tolist()], to_arrow(rows), [row.reason for row in rows])
                advance(len(part))
            stage.computed_rows, stage.reused_rows = len(missing), len(ids) - len(missing)

    def _weights(self, pool: "Pool", encodings: Encodings, model: ModelSpec) -> dict[str, np.ndarray]:
        """By row id the token weights of the rows that have any but 0 and 1, kept beside the token ids."""
        weighted = weighted_rows(pool)
        if not len(weighted):
            return {}
        artifact = self.store.rows(self.weight_spec(model), WEIGHT_TYPE)
        ids = [encodings.row_ids[i] for i in weighted.tolist()]
        missing = weighted[artifact.positions(ids) < 0]
        for start in range(0, len(missing), ENCODE_SHARD):
            part = missing[start : start + ENCODE_SHARD].tolist()
            found = encode_weights(self.tokenizer(model), pool.conversations(part), [encodings.loss_mask[i] for i in part])
            artifact.put([encodings.row_ids[i] for i in part], found, [None] * len(part))
        kept = artifact.get(ids)["value"]
        return {row_id: np.asarray(values.as_py(), np.float32) for row_id, values in zip(ids, kept, strict=True)}

    def weighted(self, rows: Rows | Subset) -> bool:
        """Whether trainings on these rows weigh some reply by other than 0 and 1."""
        if rows not in self._weighted and self.knows(rows):
            self._weighted[rows] = len(weighted_rows(self.pool_of(rows))) > 0
        return self._weighted.get(rows, False)

    def ids(self, rows: Rows | Subset | Pairs) -> Sequence[str]:
        """What the values of rows or pairs are kept under."""
        if not isinstance(rows, Pairs):
            return self.pool_of(rows).row_ids
        own, examples = self.pool_of(rows.rows).row_ids, self.pool_of(rows.examples).row_ids
        return [pair_id(own[i], examples[j]) for i, j in rows.index.tolist()]

    def texts(self, rows: Rows | Subset, view: str) -> Iterator[str]:
        """What embedders of texts read of each row."""
        return pool_texts(self.pool_of(rows), view)

    def told(self, asked: Told) -> RowValues:
        """What the pool itself tells of each row. InputError for a column that it does not have."""
        pool = self.pool_of(asked.rows)
        if isinstance(asked, Prompts):
            return RowValues(prompt_keys(pool), np.full(len(pool), None))
        if isinstance(asked, Texts):
            values: list[Any] = [text or None for text in pool_texts(pool, asked.view)]
            why = NOTHING_TO_SEE
        else:
            values = list(pool.sources) if asked.name == "source" else pool.column(asked.name).to_pylist()
            why = f"the column {asked.name} has no value for it"
        return RowValues(values, np.array([why if value is None else None for value in values], dtype=object))

    def mark_computed(self, rows: Rows | Subset | Pairs, positions: np.ndarray | None = None) -> None:
        """Take down that something was computed in this run for rows or pairs: those at these positions, or all."""
        where = np.arange(rows.size) if positions is None else positions
        if isinstance(rows, Pairs):
            return self.mark_computed(rows.rows, np.unique(rows.index[where, 0]))
        if isinstance(rows, Subset):
            return self.mark_computed(rows.rows, rows.index[where])
        self._computed[rows][where] = True

    def computed_rows(self, rows: Rows) -> int:
        """Rows for which anything at all was computed in this run, as against read from the store."""
        return int(self._computed[rows].sum())

    def stage(self, kind: str, name: str) -> Timer:
        """Time a block under a name; its Stage is there to be filled in."""
        return Timer(self.stages, Stage(kind, name))


def _labelled(encodings: Encodings, labels: TokenLabels) -> Encodings:
    """The rows with the weights of their chosen tokens. InputError where these were chosen on other token ids."""
    where = [i for i, row_id in enumerate(encodings.row_ids) if row_id in labels.rows]
    check_same_tokens(encodings, labels.rows)
    part = encodings.take(where).with_token_weights([labels.rows[encodings.row_ids[i]][1] for i in where])
    return replace(encodings, weights={**encodings.weights, **part.weights})
