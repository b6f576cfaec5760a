"""How much time is saved by running once over an example for all the rows behind it.

    python benchmarks/shared_prefix.py [POOL [MODEL]] [--rows 16] [--examples 6]

Every row behind every example, the plain way (the whole ids of each pair) and sharing; by default on the project's real data
(CURATE_DATA) and the embedded model. Prints a Markdown table: seconds of CPU, their ratio, the ratio of tokens forwarded, and
the bound 1 + mean example / mean row, which a model's layers come to with ever more rows for an example; its output head runs
over every scored token either way. `apart` is the largest difference of a log-probability. Then the same with long examples,
and with short rows behind them.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np

import curate
from curate.lm.encode import encode_rows
from curate.lm.encodings import Encodings
from curate.lm.forward import traces
from curate.lm.models import ModelSpec, load_model, load_tokenizer
from curate.lm.shared_prefix import traces_of_view
from curate.lm.views import PairView
from curate.resources import default_model


def encoded(pool: curate.Pool, folder: Path, limit: int) -> Encodings:
    """The rows of a pool that the model can use."""
    rows = encode_rows(load_tokenizer(folder), [(pool.messages(i), pool.tools(i)) for i in range(len(pool))], limit)
    kept = [(row_id, row) for row_id, row in zip(pool.row_ids, rows, strict=True) if row.reason is None]
    ids, masks = [row.input_ids for _, row in kept], [row.loss_mask for _, row in kept]
    return Encodings([row_id for row_id, _ in kept], ids, masks, np.zeros(len(kept), bool))


def measured(network: object, rows: Encodings, examples: Encodings, name: str) -> str:
    pairs = np.array([(i, j) for j in range(len(examples)) for i in range(len(rows))])
    view, everything = PairView.of(rows, examples, pairs, 512), np.arange(len(pairs))
    some = everything[: len(rows)]
    plain, shared = lambda: dict(traces(network, view.take(everything))), lambda: dict(traces_of_view(network, view, everything))  # type: ignore[arg-type]
    dict(traces_of_view(network, view, some))  # type: ignore[arg-type]
    (slow, want), (fast, found) = timed(plain), timed(shared)
    apart = max(float(np.abs(want[k]["logp"] - found[k]["logp"]).max()) for k in want)
    example, row = float(view.kept.mean()), float((view.lengths - view.kept).mean())
    tokens = view.lengths.sum() / view.forwarded(everything, 10**9)
    return (
        f"| {name} | {len(pairs)} | {example:.0f} | {row:.0f} | {slow:.2f} | {fast:.2f} | {slow / fast:.2f} | {tokens:.2f} "
        f"| {1 + example / row:.2f} | {apart:.0e} |"
    )


def timed(work):  # type: ignore[no-untyped-def]
    """(seconds of CPU of the better of two, what came of it)."""
    taken = []
    for _ in range(2):
        began = time.process_time()
        found = work()
        taken.append(time.process_time() - began)
    return min(taken), found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pool", nargs="?", default=Path(os.environ.get("CURATE_DATA", "")) / "mixed" / "slice.parquet")
    parser.add_argument("model", nargs="?", default=str(default_model()))
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--examples", type=int, default=6)
    given = parser.parse_args()
    folder = ModelSpec(given.model).folder()
    everything = encoded(curate.read_pool(given.pool, limit=20 * (given.rows + given.examples)), folder, 256)
    network = load_model(folder, device="cpu", dtype="float32")
    order = np.random.default_rng(0).permutation(len(everything))
    rows, examples = everything.take(order[: given.rows]), everything.take(order[given.rows : given.rows + given.examples])
    by_length = order[np.argsort(-everything.lengths[order], kind="stable")]
    print("| | pairs | example | row | plain, s | shared, s | ratio | of tokens | bound | apart |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    print(measured(network, rows, examples, "as they come"), flush=True)
    print(measured(network, rows, everything.take(by_length[: given.examples]), "long examples"), flush=True)
    short = everything.take(by_length[-len(by_length) // 2 :][: given.rows])
    print(measured(network, short, everything.take(by_length[: given.examples]), "and short rows"), flush=True)


if __name__ == "__main__":
    main()
