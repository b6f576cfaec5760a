"""How long the store takes over a million rows.

    python benchmarks/store_speed.py [ROWS [SHARDS]]     (1,000,000 rows in 4,000 shards)

Writes numbers and token ids in shards to a temporary store, then times what a run does: which rows are missing, reading all
of them, reading a thousand, and what they took. `first` is a fresh process, `again` the same one.
"""

import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from curate.store import Store

TOKENS = 20  # of a row; token ids are the largest thing in a store


def timed(name: str, work: Callable[[], object]) -> None:
    start = time.perf_counter()
    work()
    print(f"  {name:34} {time.perf_counter() - start:8.2f} s", flush=True)


def main(rows: int, shards: int) -> None:
    rng = np.random.default_rng(0)
    ids = [f"{high:016x}{low:016x}" for high, low in rng.integers(0, 1 << 62, (rows, 2)).tolist()]
    parts = np.array_split(np.arange(rows), shards)
    print(f"{rows:,} rows in {shards:,} shards")
    with tempfile.TemporaryDirectory() as root:
        kinds: dict[str, pa.DataType] = {"numbers": pa.float64(), "token ids": pa.list_(pa.int32())}
        for kind, type in kinds.items():
            artifact = Store(root).rows({"kind": kind}, type)

            def value(count: int, type: pa.DataType = type) -> pa.Array:
                if type == pa.float64():
                    return pa.array(rng.random(count))
                return pa.ListArray.from_arrays(np.arange(count + 1) * TOKENS, rng.integers(0, 9, count * TOKENS, np.int32))

            def write(artifact=artifact, value=value) -> None:  # type: ignore[no-untyped-def]
                for part in parts:
                    artifact.put([ids[i] for i in part], value(len(part)), [None] * len(part), 0.1)

            print(kind)
            timed("write", write)
            fresh = Store(root).rows({"kind": kind}, type)
            shuffled = [ids[i] for i in rng.permutation(rows)]
            timed("missing rows, first", lambda fresh=fresh: fresh.positions(shuffled))  # type: ignore[misc]
            timed("missing rows, again", lambda fresh=fresh: fresh.positions(shuffled))  # type: ignore[misc]
            timed("all rows", lambda fresh=fresh: fresh.get(shuffled))  # type: ignore[misc]
            timed("a thousand rows", lambda fresh=fresh: fresh.get(shuffled[:1000]))  # type: ignore[misc]
            timed("seconds they took", lambda fresh=fresh: fresh.seconds())  # type: ignore[misc]


if __name__ == "__main__":
    given = [int(text) for text in sys.argv[1:3]]
    main(*given, *(1_000_000, 4_000)[len(given) :])
