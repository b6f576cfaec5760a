"""The controls: random, balanced, longest and windows of perplexity."""

import numpy as np
import polars as pl
import pytest

from curate.budget import Budget
from curate.lm.models import ModelSpec
from curate.method import Data
from curate.preparation import generator
from curate.registry import make_method
from curate.requests import Observe, Rows
from curate.signals import RowScore

NAN = float("nan")


def data(n, seed=0):
    return Data(pool=Rows("pool", "p" * 32, n), model=ModelSpec("org/base"), seed=seed)


def picks(name, budget, values=None, sources=None, n=None, seed=0, tokens=None):
    """Positions picked by a method that sees these values of what it asks for."""
    n = n or len(values if values is not None else sources)
    method, known = make_method(name), data(n, seed)
    seen = {r: RowScore.of(np.array(values, dtype=float)) for r in method.requests(known, {})}
    lengths = np.array(tokens if tokens is not None else [10] * n)
    ids = [f"{i:032x}" for i in range(n)]
    table = pl.DataFrame({"row_id": ids, "source": sources or ["s"] * n, "tokens": lengths, "response_tokens": lengths})
    signal = method.signal(known, seen, generator(seed, method, "signal"))
    limit = Budget.parse(budget).limit(lengths)
    return method.choose(signal, table, limit, generator(seed, method, "choose")).index.tolist()


def test_longest_takes_the_longest_replies():
    assert picks("longest", 3, [5, 40, 7, 40, 90]) == [4, 1, 3]
    assert picks("longest", 1.0, [5, 40, 7, 40, 90]) == [4, 1, 3, 2, 0]
    [request] = make_method("longest").requests(data(5), {})
    assert request == Observe(ModelSpec("org/base"), data(5).pool, "response_tokens")


@pytest.mark.parametrize(
    ("window", "want"),
    [("low", [3, 1, 4]), ("mid", [2, 4, 6]), ("high", [5, 0, 6])],
)
def test_perplexity_takes_a_window_of_the_ranking(window, want):
    losses = [6.0, 2.0, 4.0, 1.0, 3.0, 700.0, 5.0, NAN]  # by rank: 3 1 4 2 6 0 5
    assert picks(f"perplexity:window={window}", 3, losses) == want
    assert len(picks(f"perplexity:window={window}", 8, losses)) == 7  # the null is left out


def test_the_middle_is_of_ranks_and_not_of_values():
    assert picks("perplexity", 1, [1.0, 2.0, 3.0, 1000.0, 2000.0]) == [2]


def test_random_budgets_are_nested_and_seeds_differ():
    whole = picks("random", 1.0, n=200)
    assert sorted(whole) == list(range(200))
    for k in (1, 20, 199):
        assert picks("random", k, n=200) == whole[:k]
    others = [tuple(picks("random", 20, n=200, seed=seed)) for seed in range(20)]
    assert len(set(others)) == 20 and others[0] == tuple(whole[:20])


def test_random_picks_every_row_alike():
    counts = np.zeros(10)
    for seed in range(600):
        counts[picks("random", 3, n=10, seed=seed)] += 1
    assert abs(counts - 180).max() < 45  # four standard deviations


def test_random_by_tokens_stays_within_them():
    lengths = np.random.default_rng(0).integers(1, 50, 100)
    chosen = picks("random", "500 tokens", n=100, tokens=lengths)
    assert 450 < lengths[chosen].sum() <= 500
    assert chosen == picks("random", "900 tokens", n=100, tokens=lengths)[: len(chosen)]


def counts(chosen, sources):
    return {source: sum(sources[i] == source for i in chosen) for source in dict.fromkeys(sources)}


@pytest.mark.parametrize(
    ("budget", "want"),
    [
        (9, {"large": 3, "middle": 3, "small": 3}),
        (30, {"large": 14, "middle": 13, "small": 3}),  # what the small one cannot fill goes to the others
        (50, {"large": 27, "middle": 20, "small": 3}),
        (10, {"large": 4, "middle": 3, "small": 3}),
        (123, {"large": 100, "middle": 20, "small": 3}),
    ],
)
def test_balanced_gives_every_source_its_share_smallest_first(budget, want):
    sources = ["large"] * 100 + ["small"] * 3 + ["middle"] * 20
    assert counts(picks("balanced", budget, sources=sources), sources) == want


def test_balanced_draws_within_a_source():
    sources = ["a"] * 50 + ["b"] * 50
    draws = [tuple(sorted(picks("balanced", 10, sources=sources, seed=seed))) for seed in range(10)]
    assert len(set(draws)) == 10 and draws[0] == tuple(sorted(picks("balanced", 10, sources=sources)))


def test_rows_without_a_source_are_a_group():
    sources = [None] * 30 + ["a"] * 30
    assert counts(picks("balanced", 10, sources=sources), sources) == {None: 5, "a": 5}


def test_chance_is_declared_and_streams_do_not_mix():
    declared = {name: make_method(name).by_chance for name in ("random", "balanced", "longest", "perplexity", "lobass")}
    assert declared == {"random": True, "balanced": True, "longest": False, "perplexity": False, "lobass": False}
    streams = [generator(0, make_method(name), purpose) for name in ("random", "balanced") for purpose in ("signal", "choose")]
    assert len({stream.random() for stream in streams}) == 4
