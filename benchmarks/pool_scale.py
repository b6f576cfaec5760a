"""A pool of a million chat rows: read, validated, fingerprinted and written; seconds and peak memory of each step.

    python benchmarks/pool_scale.py FOLDER [--rows 1000000] [--data POOL.parquet] [--formats jsonl parquet]
                                           [--near-duplicates] [--decontaminate FILE]

Makes the rows in FOLDER by going through the data again and again, each copy with a few words of its own (an existing file of
that many rows is used again), measures each format in a process of its own, and prints a table in Markdown. With
--near-duplicates and --decontaminate these steps are measured too, after the writing, in a process of their own.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

EMBEDDED = Path(__file__).parents[1] / "data" / "sample" / "pool.parquet"
BATCH = 10_000


def make(data: Path, folder: Path, rows: int) -> None:
    """pool-ROWS.jsonl and pool-ROWS.parquet: id, source, messages."""
    import orjson
    import pyarrow as pa
    import pyarrow.parquet as pq

    originals = pq.read_table(data, columns=["source", "messages"]).to_pylist()
    paths = {name: folder / f"pool-{rows}.{name}" for name in ("jsonl", "parquet")}
    if all(path.exists() for path in paths.values()):
        return
    folder.mkdir(parents=True, exist_ok=True)
    writer = None
    with paths["jsonl"].open("wb") as lines:
        for start in range(0, rows, BATCH):
            numbers = range(start, min(start + BATCH, rows))
            batch = [varied(originals[at % len(originals)], at, at // len(originals)) for at in numbers]
            lines.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in batch)
            table = pa.Table.from_pylist(batch)
            writer = writer or pq.ParquetWriter(paths["parquet"], table.schema, compression="zstd")
            writer.write_table(table)
    assert writer is not None
    writer.close()


def varied(row: dict, number: int, copy: int) -> dict:
    """A copy that differs from all others in its first and its last message."""
    messages = [{key: value for key, value in message.items() if value is not None} for message in row["messages"]]
    if copy:
        messages[0]["content"] = f"{messages[0]['content']} ({copy})"
        messages[-1]["content"] = f"{copy}. {messages[-1]['content']}"
    return {"id": f"row-{number}", "source": row["source"], "messages": messages}


def measure(path: Path, out: Path, shape: str, near: bool, evaluation: str | None) -> dict[str, float]:
    """Seconds of each step and the peak of this process in GB after it."""
    from curate.pool import read_pool, refine, write_rows

    found: dict[str, float] = {}

    def step(name: str, since: float) -> float:
        now = time.perf_counter()
        found[f"{name} s"] = now - since
        found[f"{name} GB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        return time.perf_counter()

    at = time.perf_counter()
    pool = read_pool(path)
    at = step("read", at)
    found["rows"] = len(pool)
    found["fingerprint"] = int(pool.fingerprint[:8], 16)
    at = step("fingerprint", at)
    if near or evaluation:
        if near:
            found["near rows"] = len(refine(pool, near_duplicates=0.8))
            at = step("near-duplicates", at)
        if evaluation:
            found["clean rows"] = len(refine(pool, decontaminate=[evaluation]))
            at = step("decontaminate", at)
        return found
    write_rows(pool, range(len(pool)), out, shape=shape)  # type: ignore[arg-type]
    step("write", at)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--data", type=Path, default=EMBEDDED)
    parser.add_argument("--formats", nargs="+", choices=["jsonl", "parquet"], default=["jsonl", "parquet"])
    parser.add_argument("--shapes", nargs="+", choices=["original", "messages"], default=["original", "messages"])
    parser.add_argument("--near-duplicates", action="store_true")
    parser.add_argument("--decontaminate")
    parser.add_argument("--measure", metavar="FILE:SHAPE", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        file, shape = given.measure.rsplit(":", 1)
        print(json.dumps(measure(Path(file), given.folder / "out", shape, given.near_duplicates, given.decontaminate)))
        return
    make(given.data, given.folder, given.rows)
    refining = ["--near-duplicates"] * given.near_duplicates
    refining += ["--decontaminate", given.decontaminate] if given.decontaminate else []
    print("| file | size | written as | rows | " + " | ".join(("read", "fingerprint", "write", "in all", "peak")) + " |")
    print("| --- | ---: | --- | ---: " + "| ---: " * 5 + "|")
    for format_ in given.formats:
        path = given.folder / f"pool-{given.rows}.{format_}"
        for shape in given.shapes:
            found = run(given.folder, path, shape, [])
            times = [found[f"{name} s"] for name in ("read", "fingerprint", "write")]
            cells = [*(f"{seconds:.1f} s" for seconds in (*times, sum(times))), f"{found['write GB']:.2f} GB"]
            size = f"{path.stat().st_size / 1e6:,.0f} MB"
            print(f"| {format_} | {size} | {shape} | {found['rows']:,} | {' | '.join(cells)} |", flush=True)
    if refining:
        found = run(given.folder, given.folder / f"pool-{given.rows}.{given.formats[0]}", "original", refining)
        for name, left in (("near-duplicates", "near rows"), ("decontaminate", "clean rows")):
            if left in found:
                cost = f"{found[f'{name} s']:.0f} s, peak {found[f'{name} GB']:.2f} GB"
                print(f"\n{name}: {found['rows']:,} rows to {found[left]:,} in {cost}")


def run(folder: Path, path: Path, shape: str, options: list[str]) -> dict[str, float]:
    command = [sys.executable, __file__, str(folder), "--measure", f"{path}:{shape}", *options]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


if __name__ == "__main__":
    main()
