"""At the same number of pairs computed: does NN-CIFT's network or nearest-neighbour DELIFT know more of the true utilities?

    python benchmarks/nn_cift_vs_neighbours.py [POOL [MODEL]] [--rows 300] [--seeds 3] [--embedder hidden] [--store FOLDER]

All pairs of a small pool are computed once, by default of the project's real data (CURATE_DATA) with the embedded model; the
store keeps them, so a run that was stopped goes on, and another setting computes nothing. Then each way may see 1%, 5% and 20% of
the pairs: a block of rows and examples for the network (none is spent on a probe), each row's nearest examples for the other, and
as many drawn at random per row for a control. Prints a Markdown table, means over seeds and, of ways that draw, their standard
deviation:

    rank     Spearman correlation of what it gives for all pairs off the diagonal with the truth (0 where a pair was not tried)
    top      of the true top 10% of pairs, which part is in its own top 10%
    f        the facility location of its picks under the TRUE kernel, over that of picks by the truth
    unseen   rank, on pairs that it has not computed (the network only; the others have nothing to say of these)
"""

import argparse
import os
from pathlib import Path

import numpy as np

import curate
from curate.agreement import spearman, top_overlap
from curate.budget import Budget
from curate.engine import Engine
from curate.influence_network import NetworkConfig, train_network
from curate.method import Data
from curate.neighbours import nearest, unit_vectors
from curate.plan import merge
from curate.preparation import as_model, prepare
from curate.requests import Embed, Pairs
from curate.selectors.facility_location import facility_location
from curate.signals import RowVector
from curate.store import Store
from scorers.influence import INFLUENCES

SHARES = (0.01, 0.05, 0.20)


def truth(engine: Engine, data: Data) -> tuple[np.ndarray, RowVector]:
    """(utilities [n, n] of all pairs, vectors of the rows), out of the store where they are there."""
    n = data.pool.size
    pairs, influence = Pairs(data.pool, data.pool, np.indices((n, n)).reshape(2, -1).T), INFLUENCES["delift"]
    asked = [*influence.requests(data, pairs), Embed(data.embedder, data.pool)]
    engine.execute(merge(asked))
    seen = {request: engine.answer(request) for request in asked}
    return influence.values(data, seen, pairs).values.reshape(n, n), seen[asked[-1]]


def by_network(
    table: np.ndarray, vectors: RowVector, share: float, rng: np.random.Generator, config: NetworkConfig
) -> tuple[np.ndarray, np.ndarray]:
    """(predicted [n, n], bool [n, n]: the pairs that it saw)."""
    n, unit, side = len(table), unit_vectors(vectors), max(2, round(np.sqrt(share) * len(table)))
    rows, examples = rng.permutation(n)[:side], rng.permutation(n)[:side]
    index = np.stack([np.repeat(rows, side), np.tile(examples, side)], axis=1)
    seen = np.zeros((n, n), dtype=bool)
    seen[tuple(index.T)] = True
    return train_network(unit, unit, index, table[tuple(index.T)], rng, config).predict(unit, unit), seen


def by_pairs(table: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the true values of some pairs, 0 for the others; bool [n, n]: these pairs)."""
    seen = np.zeros(table.shape, dtype=bool)
    seen[tuple(index.T)] = True
    return np.where(seen, table, 0.0), seen


def judged(table: np.ndarray, given: np.ndarray, seen: np.ndarray, picked: int) -> tuple[float, float, float, float]:
    """(rank, top, f, unseen); see above."""
    off = ~np.eye(len(table), dtype=bool)
    limit, kernel = Budget.parse(picked).limit(np.ones(len(table))), np.maximum(table, 0)
    f = lambda kernel_of: kernel[:, facility_location(np.maximum(kernel_of, 0), limit).index].max(axis=1).sum()  # noqa: E731
    hidden = off & ~seen
    rank, unseen = spearman(given[off], table[off]), spearman(given[hidden], table[hidden])
    return rank, top_overlap(given[off], table[off], 0.1), f(given) / f(table), unseen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pool", nargs="?", default=Path(os.environ.get("CURATE_DATA", "")) / "mixed" / "slice.parquet")
    parser.add_argument("model", nargs="?")
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--embedder", default="hidden")
    parser.add_argument("--picked", type=float, default=0.1, help="fraction of the rows that are picked")
    parser.add_argument("--store", default="build/nn_cift_store")
    parser.add_argument("--max-length", type=int, default=256)
    given = parser.parse_args()
    engine = Engine(store=Store(given.store), max_length=given.max_length)
    whole = curate.read_pool(given.pool)
    pool = whole.take(np.sort(np.random.default_rng(0).permutation(len(whole))[: given.rows]))
    prepared = prepare(engine, pool, model=as_model(given.model), embedder=given.embedder)
    table, vectors = truth(engine, prepared.data)
    there = np.flatnonzero(~np.isnan(table).any(axis=1) & ~np.isnan(unit_vectors(vectors)).any(axis=1))
    table, vectors = table[np.ix_(there, there)], RowVector(vectors.values[there], vectors.reasons[there])
    n, picked = len(table), max(1, int(given.picked * len(table)))
    print(
        f"{n} rows, {n * n:,} pairs, {picked} picked; utilities {np.quantile(table, [0, 0.01, 0.5, 0.99, 1]).round(4).tolist()}"
    )
    print("(lowest, 1%, middle, 99%, highest); " + f"embedder {given.embedder}, {given.seeds} seeds\n")
    print("| pairs seen | by | rank | top | f | unseen |")
    print("| ---: | --- | ---: | ---: | ---: | ---: |")
    for share in SHARES:
        each = max(1, round(share * n))
        ways = {
            "network": lambda rng, share=share: by_network(table, vectors, share, rng, NetworkConfig()),
            "network, 20 epochs": lambda rng, share=share: by_network(table, vectors, share, rng, NetworkConfig(min_steps=0)),
            "neighbours": lambda rng, each=each: by_pairs(table, nearest(vectors, vectors, each, same=True)),
            "random pairs": lambda rng, each=each: by_pairs(
                table, np.stack([np.repeat(np.arange(n), each), np.concatenate([rng.permutation(n)[:each] for _ in range(n)])], 1)
            ),
        }
        for name, way in ways.items():
            drawn = 1 if name == "neighbours" else given.seeds
            results = np.array([judged(table, *way(np.random.default_rng(seed)), picked) for seed in range(drawn)])
            cells = [_cell(column, drawn) for column in results.T]
            if not name.startswith("network"):
                cells[-1] = ""
            print(f"| {share:.0%} | {name} | {' | '.join(cells)} |", flush=True)


def _cell(values: np.ndarray, drawn: int) -> str:
    spread = f" ± {values.std(ddof=1):.3f}" if drawn > 1 else ""
    return f"{values.mean():.3f}{spread}"


if __name__ == "__main__":
    main()
