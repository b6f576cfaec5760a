"""Several scores that share a budget."""

import numpy as np
import pytest

from curate.budget import Limit
from curate.selectors.axes import by_axes

NAN = float("nan")


def rows(n, k):
    return Limit(np.ones(n), k)


def test_each_axis_has_its_part_by_hand():
    a = np.arange(10.0)
    found = by_axes({"up": a, "down": -a}, [None] * 10, rows(10, 4))
    assert found.index.tolist() == [8, 9, 0, 1] or found.index.tolist() == [9, 8, 0, 1]
    assert found.stratum == ["up", "up", "down", "down"]


def test_the_rarest_bin_is_exhausted_first():
    bins = ["common"] * 18 + ["rare"] * 2
    found = by_axes({"score": np.arange(20.0)[::-1]}, bins, rows(20, 6))
    assert {18, 19} <= set(found.index.tolist()) and len(found) == 6
    assert set(found.index.tolist()) == {18, 19, 0, 1, 2, 3}  # the rest are the best of the others


def test_the_whole_budget_is_spent_where_there_are_rows():
    rng = np.random.default_rng(0)
    for _ in range(60):
        n, k = int(rng.integers(1, 40)), int(rng.integers(1, 5))
        axes = {f"a{j}": np.where(rng.random(n) < 0.2, NAN, rng.normal(size=n)) for j in range(k)}
        bins = [[None, "x", "y", "z"][j] for j in rng.integers(0, 4, n)]
        known = int((~np.isnan(np.stack(list(axes.values()))).all(axis=0)).sum())
        budget = int(rng.integers(0, n + 1))
        found = by_axes(axes, bins, rows(n, budget))
        assert len(found) == len(set(found.index.tolist())) == min(budget, known) and found.nulls == n - known


def test_names_of_bins_play_no_part():
    rng = np.random.default_rng(1)
    axes = {"a": rng.normal(size=30), "b": rng.normal(size=30)}
    bins = rng.integers(0, 4, 30).tolist()
    first = by_axes(axes, ["wxyz"[j] for j in bins], rows(30, 11))
    assert first.index.tolist() == by_axes(axes, ["zyxw"[j] for j in bins], rows(30, 11)).index.tolist()


def test_sizes():
    with pytest.raises(ValueError, match="at least one axis"):
        by_axes({}, [], rows(0, 1))
