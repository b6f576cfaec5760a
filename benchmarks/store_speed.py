"""How long the store takes over a million rows.

    python benchmarks/store_speed.py [ROWS [SHARDS]]     (1,000,000 rows in 4,000 shards)

Writes numbers and token ids in shards to a temporary store, then times what a run does: which rows are missing, reading all
of them, reading a thousand, and what they took. `first` is a fresh process, `again` the same one.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from curate.store import RowArtifact, Store

TOKENS = 20  # of a row; token ids are the largest thing in a store


def main(rows: int, shards: int) -> None:
    rng = np.random.default_rng(0)
    ids = [f"{high:016x}{low:016x}" for high, low in rng.integers(0, 1 << 62, (rows, 2)).tolist()]
    shuffled = [ids[i] for i in rng.permutation(rows)]
    parts = np.array_split(np.arange(rows), shards)
    print(f"{rows:,} rows in {shards:,} shards")
    with tempfile.TemporaryDirectory() as root:
        write("numbers", Store(root).rows({"kind": "numbers"}, pa.float64()), lambda n: pa.array(rng.random(n)), ids, parts)
        read(Store(root).rows({"kind": "numbers"}, pa.float64()), shuffled)
        type = pa.list_(pa.int32())
        write("token ids", Store(root).rows({"kind": "tokens"}, type), lambda n: token_ids(rng, n), ids, parts)
        read(Store(root).rows({"kind": "tokens"}, type), shuffled)


def token_ids(rng: np.random.Generator, rows: int) -> pa.Array:
    return pa.ListArray.from_arrays(np.arange(rows + 1) * TOKENS, rng.integers(0, 9, rows * TOKENS, np.int32))


def write(
    name: str, artifact: RowArtifact, make: Callable[[int], pa.Array], ids: Sequence[str], parts: Sequence[np.ndarray]
) -> None:
    print(name)

    def put() -> None:
        for part in parts:
            artifact.put([ids[i] for i in part], make(len(part)), [None] * len(part), 0.1)

    timed("write", put)


def read(artifact: RowArtifact, ids: Sequence[str]) -> None:
    timed("which rows are missing, first", lambda: artifact.positions(ids))
    timed("which rows are missing, again", lambda: artifact.positions(ids))
    timed("all rows", lambda: artifact.get(ids))
    timed("a thousand rows", lambda: artifact.get(ids[:1000]))
    timed("the seconds that they took", lambda: artifact.seconds(ids))


def timed(name: str, work: Callable[[], object]) -> None:
    start, cpu = time.perf_counter(), time.process_time()
    work()
    print(f"  {name:32} {time.perf_counter() - start:8.2f} s, {time.process_time() - cpu:8.2f} s of CPU", flush=True)


if __name__ == "__main__":
    given = [int(text) for text in sys.argv[1:3]]
    main(*given, *(1_000_000, 4_000)[len(given) :])
