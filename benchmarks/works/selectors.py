"""Every selector as the rows grow

A tenth of the rows by each selector of `curate.selectors`, through its public function, on random numbers: 64 columns where
it compares rows by vectors or targets, 1,000 groups, 50 tokens a row. `facility_location`, `kmeans` (and `best_k`, which is
made of it) and `dpp` have works of their own. `weight` is a number that changes when the picks do.
"""

from collections.abc import Callable

import numpy as np

from curate.budget import Budget, Limit

REACH = "n or n log n, so that ten million rows stay a matter of minutes"
SIZES: dict[str, dict[str, int]] = {}
GROWTH = ("rows", [30_000, 100_000, 300_000, 1_000_000], {})
COLUMNS, GROUPS, TOKENS = 64, 1000, 50
Pick = Callable[[], np.ndarray]


def limit(rows: int) -> Limit:
    return Budget.parse("10%").limit(np.ones(rows))


def top_k(rng: np.random.Generator, rows: int) -> Pick:
    from curate.selectors.top_k import top_k

    values = rng.standard_normal(rows)
    return lambda: top_k(values, limit(rows)).index


def window(rng: np.random.Generator, rows: int) -> Pick:
    from curate.selectors.window import window

    values = rng.standard_normal(rows)
    return lambda: window(values, limit(rows)).index


def shuffle(rng: np.random.Generator, rows: int) -> Pick:
    from curate.selectors.random import shuffle

    return lambda: shuffle(rows, limit(rows), rng).index


def quota(rng: np.random.Generator, rows: int) -> Pick:
    from curate.selectors.quota import quota

    strata, order = [str(group) for group in rng.integers(GROUPS, size=rows)], rng.permutation(rows)
    return lambda: quota(strata, order, limit(rows)).index


def weighted(rng: np.random.Generator, rows: int) -> Pick:
    from curate.selectors.weighted import weighted_order

    weights = rng.standard_normal(rows)
    return lambda: weighted_order(weights, rng)


def matched(rng: np.random.Generator, rows: int) -> Pick:
    from curate.selectors.matched import matched

    lengths = rng.integers(1, 2000, size=rows)
    picked = np.argsort(-lengths, kind="stable")[: rows // 10]
    return lambda: matched(picked, lengths, rng)


def bids(rng: np.random.Generator, rows: int) -> Pick:
    from curate.selectors.bids import bids

    matrix = rng.standard_normal((rows, COLUMNS))
    return lambda: bids(matrix, limit(rows)).index


def influence(rng: np.random.Generator, rows: int) -> Pick:
    from curate.selectors.influence import best_subtask, cosines, influence
    from curate.selectors.top_k import top_k

    vectors, targets = rng.standard_normal((rows, 256), dtype=np.float32), rng.standard_normal((COLUMNS, 256), dtype=np.float32)
    subtasks = [str(i % 4) for i in range(COLUMNS)]
    return lambda: top_k(best_subtask(influence([(1.0, cosines(vectors, targets))]), subtasks), limit(rows)).index


def tokens(rng: np.random.Generator, rows: int) -> Pick:
    from curate.selectors.tokens import keep_tokens

    scores = list(rng.standard_normal((rows, TOKENS)))
    return lambda: np.flatnonzero([kept.sum() > TOKENS // 2 for kept in keep_tokens(scores, 0.5)])


def measured(make: Callable[[np.random.Generator, int], Pick]) -> Callable[..., Callable[[], dict[str, float]]]:
    def contestant(rows: int) -> Callable[[], dict[str, float]]:
        pick = make(np.random.default_rng(0), rows)

        def run() -> dict[str, float]:
            picked = pick()
            return {"picked": len(picked), "weight": int(picked.sum())}

        return run

    return contestant


CONTESTANTS = {
    make.__name__: measured(make)
    for make in (top_k, window, shuffle, quota, weighted, matched, bids, influence, tokens)
}  # fmt: skip
GROWN = tuple(CONTESTANTS)
