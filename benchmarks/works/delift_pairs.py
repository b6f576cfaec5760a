"""DELIFT's utilities: 64 rows behind each example, all of one length

A model of 28 million weights in float32; real conversations cut to one number of tokens, the replies scored. `curate` runs once
over an example and goes on from its keys and values; `whole pairs` runs over all tokens of every pair, in batches of the same
number of tokens without any padding. Both read the same observable with the same output head. The limit for ever more rows is
2. `apart` is the largest difference of a distance between the two.
"""

from typing import Any

import numpy as np
from language import BATCH_TOKENS, encoded, network
from speed import CannotRun

REACH = "1.7 times as fast as whole pairs, distances equal to 1e-5"
SIZES = {
    "examples=4 tokens=128": {"examples": 4, "tokens": 128},
    "examples=4 tokens=224": {"examples": 4, "tokens": 224},
    "examples=1 tokens=96": {"examples": 1, "tokens": 96},
}
ROWS = 64


def pairs(examples: int, tokens: int) -> Any:
    """Every row behind every example."""
    from curate.lm.encodings import Encodings
    from curate.lm.views import PairView

    data = encoded(8 * (ROWS + examples))
    fit = [i for i in range(len(data)) if data.lengths[i] >= tokens and data.loss_mask[i][1:tokens].any()][: ROWS + examples]
    if len(fit) < ROWS + examples:
        raise CannotRun(f"{len(fit)} conversations of {tokens} tokens")
    cut = Encodings(
        [data.row_ids[i] for i in fit],
        [data.input_ids[i][:tokens] for i in fit],
        [data.loss_mask[i][:tokens] for i in fit],
        np.ones(len(fit), bool),
    )
    rows, before = cut.take(range(ROWS)), cut.take(range(ROWS, ROWS + examples))
    return PairView.of(rows, before, np.array([(i, j) for j in range(examples) for i in range(ROWS)]), 2 * tokens)


def distances(found: Any) -> np.ndarray:
    """float64 [pairs]."""
    from curate.lm.observables import DISTANCE

    each = dict(found)
    return np.array([DISTANCE.reduce(each[k]) for k in range(len(each))])


def ours(examples: int, tokens: int):  # type: ignore[no-untyped-def]
    from curate.lm.forward import traces
    from curate.lm.shared_prefix import traces_of_view

    view, model = pairs(examples, tokens), network()
    some = np.arange(0, len(view), 16)
    want = distances(traces(model, view.take(some), batch_tokens=BATCH_TOKENS))

    def run() -> dict[str, float]:
        found = distances(traces_of_view(model, view, np.arange(len(view)), batch_tokens=BATCH_TOKENS))
        tokens_run = view.forwarded(np.arange(len(view)), 10**9)
        return {"apart": float(np.abs(found[some] - want).max()), "of tokens": float(view.lengths.sum() / tokens_run)}

    return run


def whole(examples: int, tokens: int):  # type: ignore[no-untyped-def]
    from curate.lm.forward import traces

    view, model = pairs(examples, tokens), network()

    def run() -> dict[str, float]:
        return {
            "mean distance": float(distances(traces(model, view.take(np.arange(len(view))), batch_tokens=BATCH_TOKENS)).mean())
        }

    return run


CONTESTANTS = {"curate": ours, "whole pairs": whole}
