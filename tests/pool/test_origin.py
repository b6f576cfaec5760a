"""A pool knows how to be read again for as long as it is what was read."""

from pathlib import Path

import numpy as np
import pytest

from curate.pool import read_pool, refine
from curate.pool.sources import located
from curate.preparation import as_pool


def test_what_was_read_and_how(small_pool, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    origin = read_pool("pool.jsonl", columns={"source": "planted"}, limit=9).origin
    assert origin.paths == origin.files == (str(small_pool),)
    assert (dict(origin.columns), origin.limit, origin.steps) == ({"source": "planted"}, 9, ())
    assert as_pool(["pool.jsonl"]).origin.paths == (str(small_pool),)
    assert read_pool("*.jsonl").origin.paths == (str(tmp_path / "*.jsonl"),)
    assert read_pool([{"prompt": "a", "completion": "b"}]).origin is None


def test_refinements_are_steps(small_pool, make_pool):
    dev = make_pool(range(3), name="dev.jsonl")
    pool = read_pool(small_pool)
    once = refine(pool, cap=5, seed=3)
    assert once.origin.steps == ({"cap": 5, "seed": 3},) and once.origin.paths == pool.origin.paths
    twice = refine(once, decontaminate=dev, repeat={"s0": 2})
    assert [set(step) for step in twice.origin.steps] == [{"cap", "seed"}, {"decontaminate", "repeat", "seed"}]
    assert twice.origin.steps[1]["decontaminate"][str(dev)].paths == (str(dev),)
    assert refine(pool).origin == pool.origin
    in_memory = read_pool([{"prompt": "a", "completion": "b"}])
    assert refine(pool, decontaminate={"x": in_memory}).origin is None and refine(in_memory, cap=1).origin is None


def test_a_part_and_a_changed_pool_have_none(small_pool):
    pool = read_pool(small_pool)
    assert pool.take(range(24)).origin == pool.origin and pool.take(range(23)).origin is None
    assert pool.with_repeats(np.full(24, 2)).origin is None and pool.with_policy({}).origin is None


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("hub:org/name", "hub:org/name"), ("org/name", "hub:org/name"), ("here/rows.jsonl", "/here/rows.jsonl"), ("a*/b", "/a*/b")],
)
def test_paths_as_any_folder_finds_them(given, wanted, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert located(given) == (wanted if wanted.startswith("hub:") else f"{tmp_path}{wanted}")
    assert located(Path("/x") / "y.csv") == "/x/y.csv"
