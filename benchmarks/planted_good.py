"""Does the verdict see a selection that is truly better? Random rows without the planted defects, against random rows.

    OMP_NUM_THREADS=1 python benchmarks/planted_good.py POOL EVAL [--share 0.5] [--budget 10%] [--tokens 40000] [--seeds 5]

The selection reads the labels, which no method can: it is the known answer, not a method. --share leaves out sound rows until
so large a share of the pool is spoiled, which makes the known difference larger; --alone leaves out the other controls and the
second learning rate. Prints the verdict as Markdown.
"""

import argparse
from typing import ClassVar

import numpy as np

import curate
from curate.comparison import design
from curate.method import Cost, Method
from curate.preparation import generator
from curate.selectors.top_k import top_k
from curate.training.config import TrainConfig
from curate.truth import defects
from scorers.random import Random


class WithoutDefects(Method):
    """The rows that `random` picks with the same seed, spoiled ones passed over: the two differ in nothing else."""

    name: ClassVar[str] = "without defects"
    paper: ClassVar[str] = "known answer"
    cost: ClassVar[Cost] = "free"
    by_chance: ClassVar[bool] = True
    spoiled: ClassVar[frozenset[str]] = frozenset()

    def signal(self, data, seen, rng):  # type: ignore[no-untyped-def]
        """The numbers of `random`."""
        return Random().signal(data, seen, generator(data.seed, Random(), "signal"))

    def choose(self, signal, table, limit, rng):  # type: ignore[no-untyped-def]
        """The largest numbers, spoiled rows left out."""
        spoiled = np.array([row_id in self.spoiled for row_id in table["row_id"]])
        return top_k(np.where(spoiled, np.nan, signal.values), limit)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pool")
    parser.add_argument("evaluation")
    for name, value in (("truth", "planted"), ("budget", "10%"), ("model", None), ("store", None)):
        parser.add_argument(f"--{name}", default=value)
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--share", type=float, default=None)
    for name, value in (("tokens", 40_000), ("seeds", 5), ("batch-tokens", 512)):
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    pool = curate.read_pool(asked.pool)
    spoiled = np.array([defect is not None for defect in defects(pool, asked.truth)])
    if asked.share is not None:
        count = round(spoiled.sum() * (1 / asked.share - 1))
        sound = np.random.default_rng(0).choice(np.flatnonzero(~spoiled), count, replace=False)
        kept = np.sort(np.concatenate([np.flatnonzero(spoiled), sound]))
        pool, spoiled = pool.take(kept), spoiled[kept]
    WithoutDefects.spoiled = frozenset(np.array(pool.row_ids, dtype=object)[spoiled])
    verdict = curate.compare(
        pool,
        [WithoutDefects()],
        budgets=[asked.budget],
        evals=asked.evaluation,
        seeds=asked.seeds,
        tokens=asked.tokens,
        model=asked.model,
        recipe=TrainConfig(batch_tokens=asked.batch_tokens),
        engine=curate.Engine(store=curate.Store(asked.store)),
        full=False,
        controls=("random",) if asked.alone else design.CONTROLS,
        second_rate=None if asked.alone else design.SECOND_RATE,
    )
    print(verdict.to_markdown())


if __name__ == "__main__":
    main()
