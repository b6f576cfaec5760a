"""What scoring costs again after rows were appended: tokens forwarded and trained on, and seconds.

    python benchmarks/appended_rows.py POOL [--rows 10000] [--share 0.01] [--methods perplexity,lobass]

Scores the first rows of a pool, then all of them on the same store, then once more with nothing new; prints a Markdown table.
"""

import argparse
import tempfile
import time

import curate


def run(pool: curate.Pool, methods: list[str], store: str) -> tuple[int, int, int, float]:
    """Rows, tokens forwarded, tokens trained on, and seconds of scoring a pool."""
    engine = curate.Engine(store=curate.Store(store))
    began = time.perf_counter()
    rows = len(curate.score(pool, methods, engine=engine).frame)
    seconds = time.perf_counter() - began
    tokens = [sum(stage.tokens for stage in engine.stages if stage.kind == kind) for kind in ("pass", "train")]
    return rows, *tokens, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pool")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--share", type=float, default=0.01, help="of the rows that are appended")
    parser.add_argument("--methods", default="perplexity,lobass")
    given = parser.parse_args()
    whole = curate.read_pool(given.pool, limit=given.rows)
    before = curate.read_pool(given.pool, limit=round(given.rows * (1 - given.share)))
    with tempfile.TemporaryDirectory() as store:
        print("| run | rows | tokens forwarded | tokens trained on | seconds |\n|---|---|---|---|---|")
        first = 0
        for name, pool in (("first", before), (f"{given.share:.0%} appended", whole), ("again", whole)):
            rows, forwarded, trained, seconds = run(pool, given.methods.split(","), store)
            first = first or forwarded
            print(f"| {name} | {rows:,} | {forwarded:,} ({forwarded / first:.2%}) | {trained:,} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
