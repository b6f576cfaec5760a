"""One pass: a model over the rows of a view that lack something, shard by shard, into the store."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from curate.lm.observables import OBSERVABLES, Trace
from curate.lm.views import View
from curate.store import RowArtifact

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NOT_FINITE = "the model gave a number that is not finite"
NOTHING_TO_SCORE = "no token to score in this view"


@dataclass
class PassResult:
    """tokens: forwarded. failed: row id -> why it has no value in this run; not kept, for another run may have the means."""

    tokens: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def record(
    network: "PreTrainedModel",
    view: View,
    missing: np.ndarray,
    artifacts: Mapping[str, RowArtifact],
    *,
    batch_tokens: int,
    shard_tokens: int,
    progress: Callable[[int], None],
) -> PassResult:
    """Run a model over rows of a view and keep the observables that `artifacts` names, null with a reason where there is none.

    missing  int64, positions of the rows to run. Shards are cut over all rows of the view, so a run that was killed goes
             on with the same ones; each is kept as soon as it is done.
    """
    from curate.lm.shared_prefix import traces_of_view

    result = PassResult()

    def count(tokens: int) -> None:
        result.tokens += tokens
        progress(tokens)

    wanted = np.zeros(len(view), dtype=bool)
    wanted[missing] = True
    needs = tuple(dict.fromkeys(need for name in artifacts for need in OBSERVABLES[name].needs))
    for shard in view.shards(shard_tokens):
        part = shard[wanted[shard]]
        if not len(part):
            continue
        began = time.perf_counter()
        found: list[Trace | str] = [view.reasons[i] for i in part]
        seen = np.array([i for i, reason in enumerate(found) if reason is None], dtype=np.int64)
        if len(seen):
            runs = traces_of_view(network, view, part[seen], needs, batch_tokens=batch_tokens, progress=count)
            for position, trace in runs:
                found[seen[position]] = trace
        kept = []
        for i, trace in enumerate(found):
            if isinstance(trace, str) and trace != view.reasons[part[i]]:
                result.failed[view.row_ids[part[i]]] = trace
            else:
                kept.append(i)
        ids = [view.row_ids[part[i]] for i in kept]
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
