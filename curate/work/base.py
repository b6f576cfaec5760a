"""What all row-wise work has in common: where it is kept, what is missing, how it runs, what it cost."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from curate import progress
from curate.fitting import Fitting
from curate.jobs import Kind, Piece
from curate.passes import Done
from curate.plan import lineage
from curate.requests import Model, Pairs, Rows, Subset
from curate.stages import Stage
from curate.store import RowArtifact


class RowWork(ABC):
    """One request of a plan and the engine that works on it."""

    kind: ClassVar[Kind]
    unit: ClassVar[str] = "tokens"  # what its time goes by

    def __init__(self, engine: Fitting, rows: Rows | Subset | Pairs, model: Model | None) -> None:
        self.engine, self.rows, self.model = engine, rows, model

    @abstractmethod
    def name(self, missing: int = 0) -> str:
        """For people. missing: how many of the rows are to be computed, where it is not all of them."""

    @abstractmethod
    def artifacts(self) -> Mapping[str, RowArtifact]:
        """Where the results are kept, by name. CurateError where a fit that they depend on was not made yet."""

    @abstractmethod
    def tokens(self, positions: np.ndarray) -> int:
        """How many a model runs over for the rows at these positions, at most; 0 where no model runs."""

    @abstractmethod
    def compute(self, missing: np.ndarray, advance: Callable[[int], None]) -> Done:
        """Work on the rows at these positions, keep what comes of them, and tell how far it is in its unit."""

    @abstractmethod
    def answer(self) -> Any:
        """What the request is answered with, out of the store."""

    def flops(self, tokens: int) -> float:
        """Of so many tokens; 0 where no model runs."""
        return 0.0

    def spread(self, pieces: Iterable[Piece], advance: Callable[[int], None]) -> Done:
        """What came of the pieces, wherever they ran."""
        result = Done()
        for done in self.engine.executor.spread(pieces, self.engine, advance):
            result.add(done)
        return result

    @property
    def waits(self) -> bool:
        """Whether a fit must be made first."""
        return self.model is not None and any(self.engine.kept(fit) is None for fit in lineage(self.model)[-1:])

    def missing(self) -> np.ndarray:
        """Positions of the rows that were not computed yet, nor tried in this run."""
        if self.waits:
            return np.arange(self.rows.size)
        ids = self.engine.ids(self.rows)
        lacks = np.zeros(len(ids), dtype=bool)
        for artifact in self.artifacts().values():
            lacking, failed = artifact.positions(ids) < 0, self.engine.failures(artifact)
            if failed:
                lacking &= np.array([row_id not in failed for row_id in ids])
            lacks |= lacking
        return np.flatnonzero(lacks)

    def amount(self, positions: np.ndarray) -> int:
        """What is to be done for the rows at these positions, in its unit."""
        return self.tokens(positions) if self.unit == "tokens" else len(positions)

    def run(self) -> None:
        """Work on what is missing."""
        missing = self.missing()
        if not len(missing):  # other work of this run had the same rows
            return self.engine.stages.append(self.reused())
        name, total = self.name(len(missing)), self.amount(missing)
        with self.engine.stage(self.kind, self.name()) as stage, progress.task(name, total, self.unit) as advance:
            done = self.compute(missing, advance)
            stage.computed_rows, stage.reused_rows = len(missing), self.rows.size - len(missing)
            stage.tokens, stage.flops = done.tokens, self.flops(done.tokens)
        for artifact in self.artifacts().values() if done.failed else ():
            lacking = artifact.positions(list(done.failed)) < 0
            self.engine.failures(artifact).update(pair for pair, lacks in zip(done.failed.items(), lacking, strict=True) if lacks)
        self.engine.mark_computed(self.rows, missing)

    def reused(self) -> Stage:
        """The account of work that the store has all of."""
        return Stage(self.kind, self.name(), reused_rows=self.rows.size)

    def cost(self) -> tuple[float, float]:
        """(seconds, FLOPs) of all the rows, whichever run computed them.

        What is recorded in one pass is timed under each of its names, so the longest of them counts and not their sum.
        """
        ids = self.engine.ids(self.rows)
        seconds = max((artifact.seconds(ids) for artifact in self.artifacts().values()), default=0.0)
        return seconds, self.flops(self.tokens(np.arange(self.rows.size)))


def ids_hash(ids: Iterable[str]) -> str:
    """32 hex digits, in this order: for results that depend on what stands beside each row."""
    return hashlib.blake2b("\n".join(ids).encode(), digest_size=16).hexdigest()


def kept_values(
    artifact: RowArtifact, row_ids: Sequence[str], failed: Mapping[str, str]
) -> tuple[pa.ChunkedArray, np.ndarray, np.ndarray]:
    """What an artifact has of rows: (values of those that it has, int64 where these stand, object [n] reasons).

    failed  row id -> why this run could not compute it; what the artifact has all the same counts.
    """
    lacking = artifact.positions(row_ids) < 0 if failed else np.zeros(len(row_ids), dtype=bool)
    reasons = np.array(
        [failed.get(row_id) if lacks else None for row_id, lacks in zip(row_ids, lacking, strict=True)], dtype=object
    )
    there = np.flatnonzero(reasons == None)  # noqa: E711 (elementwise)
    table = artifact.get([row_ids[i] for i in there.tolist()])
    reasons[there] = table["reason"].to_pylist()
    return table["value"], there, reasons
