"""One pass: a model over the rows of a view that lack something, shard by shard, into the store."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from curate.lm.observables import OBSERVABLES, Trace
from curate.lm.views import View
from curate.store import RowArtifact

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SHARD_TOKENS = 100_000  # what a killed run loses at most
NOT_FINITE = "the model gave a number that is not finite"
NOTHING_TO_SCORE = "no token to score in this view"


@dataclass
class Done:
    """tokens: run over. failed: row id -> why it has no value in this run; not kept, for another run may have the means."""

    tokens: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, other: "Done") -> None:
        """Take in what came of another part."""
        self.tokens += other.tokens
        self.failed |= other.failed


def record(
    network: "PreTrainedModel",
    view: View,
    missing: np.ndarray,
    artifacts: Mapping[str, RowArtifact],
    *,
    batch_tokens: int,
    progress: Callable[[int], None],
) -> Done:
    """Run a model over rows of a view and keep the observables that `artifacts` names, null with a reason where there is none.

    missing  int64, positions of the rows to run; in parts, each of which is kept as soon as it is done.
    """
    result = Done()
    for part in view_parts(view, missing):
        result.add(record_part(network, part, artifacts, batch_tokens=batch_tokens, progress=progress))
    return result


def view_parts(view: View, missing: np.ndarray) -> Iterator[View]:
    """What is missing of each shard."""
    return map(view.part, parts(view.shards(SHARD_TOKENS), missing))


def parts(shards: Sequence[np.ndarray], missing: np.ndarray) -> Iterator[np.ndarray]:
    """The positions of each shard that are missing, where some are.

    Shards are cut over all rows, so a run that was killed goes on with the same ones.
    """
    wanted = np.zeros(sum(map(len, shards)), dtype=bool)
    wanted[missing] = True
    for shard in shards:
        if wanted[shard].any():
            yield shard[wanted[shard]]


def record_part(
    network: "PreTrainedModel",
    view: View,
    artifacts: Mapping[str, RowArtifact],
    *,
    batch_tokens: int,
    progress: Callable[[int], None],
) -> Done:
    """The same of all rows of a view, kept as one shard."""
    from curate.lm.shared_prefix import traces_of_view

    result, began = Done(), time.perf_counter()

    def count(tokens: int) -> None:
        result.tokens += tokens
        progress(tokens)

    needs = tuple(dict.fromkeys(need for name in artifacts for need in OBSERVABLES[name].needs))
    found: list[Trace | str] = list(view.reasons)
    seen = np.array([i for i, reason in enumerate(found) if reason is None], dtype=np.int64)
    if len(seen):
        for position, trace in traces_of_view(network, view, seen, needs, batch_tokens=batch_tokens, progress=count):
            found[seen[position]] = trace
    kept = []
    for i, trace in enumerate(found):
        if isinstance(trace, str) and trace != view.reasons[i]:
            result.failed[view.row_ids[i]] = trace
        else:
            kept.append(i)
    ids = [view.row_ids[i] for i in kept]
    for name, artifact in artifacts.items():
        values = [reduced(name, found[i]) for i in kept]
        artifact.put(ids, [v for v, _ in values], [reason for _, reason in values], time.perf_counter() - began)
    return result


def reduced(name: str, trace: Trace | str) -> tuple[Any, str | None]:
    """(value, None) of an observable from a trace, or (None, why there is none)."""
    if isinstance(trace, str):
        return None, trace
    arrays = [trace[need] for need in OBSERVABLES[name].needs]
    if any(not len(array) for array in arrays):
        return None, NOTHING_TO_SCORE
    if not all(np.isfinite(array).all() for array in arrays):
        return None, NOT_FINITE
    return OBSERVABLES[name].reduce(trace), None
