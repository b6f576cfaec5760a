"""What goes wrong outside: kill -9, two processes at once, files that may not grow, a store that is read-only, Ctrl-C."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from curate.store import Store
from curate.store.verbs import verify


@dataclass
class Child:
    """A command line that runs in a process of its own."""

    pid: int
    folder: Path

    def running(self):
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def wait(self):
        """(exit code, standard output, standard error); the code is None when it was killed."""
        end = time.monotonic() + 60
        while self.running():
            assert time.monotonic() < end, self.read("err")
            time.sleep(0.005)
        return (int(self.read("code")) if self.read("code") else None), self.read("out"), self.read("err")

    def read(self, name):
        file = self.folder / name
        return file.read_text() if file.exists() else ""

    @property
    def forwarded(self):
        """Rows of each shard that went through a model."""
        return [int(line) for line in self.read("forwarded").split()]


@pytest.fixture(scope="module")
def zygote():
    process = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("children.py")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    yield process
    process.stdin.close()
    process.wait(timeout=10)


@pytest.fixture
def curate(zygote, tmp_path):
    """Starts `curate WORDS`; gives a Child."""
    count = iter(range(1000))

    def start(*words, largest=None, lowly=False, shard_tokens=200):
        folder = tmp_path / f"child-{next(count)}"
        folder.mkdir()
        order = {"words": [str(word) for word in words], "folder": str(folder), "cwd": str(tmp_path)}
        zygote.stdin.write(json.dumps({**order, "largest": largest, "lowly": lowly, "shard_tokens": shard_tokens}) + "\n")
        zygote.stdin.flush()
        return Child(int(zygote.stdout.readline()), folder)

    return start


@pytest.fixture
def score(curate, tiny, tmp_path):
    """Starts `curate score` with perplexity on a store."""

    def start(pool, store="store", out="scores", method="perplexity", **options):
        return curate(
            "score", pool, "-m", method, "--model", tiny, "--store", tmp_path / store, "--out", tmp_path / out, "--device=cpu",
            "--threads=1", "--adapter=none", "--batch-tokens=512", "--overwrite", **options,
        )  # fmt: skip

    return start


def scores(tmp_path, out):
    return pl.read_parquet(tmp_path / out / "scores.parquet")


def shards(store):
    return sorted(path.name for path in Path(store).glob("rows/*/part-*"))


def one_sentence(text):
    """What is said on standard error, beside the progress of what was done before."""
    assert "Traceback" not in text
    [line] = [line for line in text.splitlines() if line.startswith("curate: ")]
    return line


# kill -9 --------------------------------------------------------------------------------------------------------------


def test_killed_at_random_moments(score, make_pool, tmp_path):
    pool = make_pool(range(160))
    calm = score(pool, "calm", "calm-scores")
    assert calm.wait()[0] == 0
    want, rows = scores(tmp_path, "calm-scores"), calm.forwarded
    assert sum(rows) == 160 and len(rows) > 15
    rng = random.Random(time.time_ns())
    forwarded, kills = 0, 0
    for _ in range(3):
        child = score(pool)
        # Somewhere after the first shard of this run was begun.
        while child.running() and not child.forwarded:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.06))
        if child.running():
            os.kill(child.pid, signal.SIGKILL)
        kills += child.wait()[0] is None
        forwarded += sum(child.forwarded)
        assert verify(Store(tmp_path / "store")).damaged == []  # nothing half-written under a final name
    last = score(pool)
    assert last.wait()[0] == 0 and kills
    assert scores(tmp_path, "scores").equals(want)
    assert forwarded + sum(last.forwarded) <= 160 + kills * max(rows)
    assert [name.split("-")[1] for name in shards(tmp_path / "store")] == [
        name.split("-")[1] for name in shards(tmp_path / "calm")
    ]


# Two at once ----------------------------------------------------------------------------------------------------------


def test_two_processes_that_compute_the_same_and_overlapping_rows(score, make_pool, tmp_path):
    one, two = make_pool(range(40), "one.jsonl"), make_pool(range(20, 60), "two.jsonl")
    runs = [(one, "a", "lobass"), (one, "b", "lobass"), (two, "c", "perplexity")]
    children = [score(pool, out=out, method=method) for pool, out, method in runs]
    assert [child.wait()[0] for child in children] == [0] * 3, [child.read("err") for child in children]
    store = Store(tmp_path / "store")
    assert verify(store).damaged == [] and not list(store.root.rglob("*.tmp"))
    assert len(store.folders("fits")) == 1
    found = {out: scores(tmp_path, out) for _, out, _ in runs}
    for pool, out, method in runs[1:]:
        alone = score(pool, f"alone-{out}", "alone", method)
        assert alone.wait()[0] == 0
        want = scores(tmp_path, "alone")
        assert found[out]["row_id"].equals(want["row_id"])
        assert (found[out][method] - want[method]).abs().max() < 1e-4
    assert (found["a"]["lobass"] - found["b"]["lobass"]).abs().max() < 1e-4


# Files that may not grow ----------------------------------------------------------------------------------------------


def test_a_file_size_limit_in_the_middle_of_a_shard(score, make_pool, tmp_path):
    """Small shards pass, then a larger one does not: what was computed before stays, and a run without the limit goes on."""
    pool = make_pool(range(60))
    assert score(pool).wait()[0] == 0  # the tokens, so that the limit meets a pass
    for path in (tmp_path / "store" / "rows").iterdir():
        if "observable" in (path / "spec.json").read_text():
            sizes = sorted((shard.stat().st_size, shard) for shard in path.glob("part-*"))
            for _, shard in sizes[: len(sizes) // 2]:
                shard.unlink()  # as if they were still to do
    before = shards(tmp_path / "store")
    child = score(pool, largest=1000, out="other")
    code, out, err = child.wait()
    assert (code, out) == (1, "") and not (tmp_path / "other").exists()
    assert "part-" in one_sentence(err) and "File too large" in one_sentence(err) and "kept" in one_sentence(err)
    assert shards(tmp_path / "store") == before and not list((tmp_path / "store").rglob("*.tmp"))
    assert score(pool).wait()[0] == 0


def test_a_file_size_limit_while_a_fit_is_kept(score, make_pool, tmp_path):
    pool = make_pool(range(30))
    code, out, err = score(pool, method="lobass", largest=100_000).wait()
    assert (code, out) == (1, "")
    said = one_sentence(err)
    assert str(tmp_path / "store" / "fits") in said and "File too large" in said and "kept" in said and ".tmp" not in said
    assert list((tmp_path / "store" / "fits").iterdir()) == []
    again = score(pool, method="lobass")
    assert again.wait()[0] == 0 and verify(Store(tmp_path / "store")).damaged == []


@pytest.mark.parametrize("largest", [2_000, 6_000, 20_000])
def test_a_file_size_limit_while_the_results_are_written(curate, make_pool, tiny, tmp_path, largest):
    pool = make_pool(range(200))

    def select(**options):
        return curate(
            "select", pool, "-m", "longest", "-b", "90%", "--model", tiny, "--store", tmp_path / "store", "--out", tmp_path / "out",
            "--device=cpu", "--threads=1", "--overwrite", **options,
        )  # fmt: skip

    assert select().wait()[0] == 0
    before = sorted(path.name for path in (tmp_path / "out").iterdir())
    code, out, err = select(largest=largest).wait()
    assert (code, out) == (1, ""), err
    said = one_sentence(err)
    assert str(tmp_path / "out") in said and "too large" in said and "kept" in said and ".tmp" not in said
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == before and not list(tmp_path.glob(".out*"))
    assert select().wait()[0] == 0


# A store that is read-only --------------------------------------------------------------------------------------------


def test_a_store_that_may_only_be_read(score, make_pool, tmp_path):
    """It serves what it has; what it has not is refused in a sentence."""
    assert score(make_pool(range(30))).wait()[0] == 0
    folders = [tmp_path / "store", *(path for path in (tmp_path / "store").rglob("*") if path.is_dir())]
    try:
        for folder in folders:
            folder.chmod(0o555)
        served = score(make_pool(range(20), "fewer.jsonl"), out="fewer", lowly=True)
        assert served.wait()[0] == 0, served.read("err")
        assert len(scores(tmp_path, "fewer")) == 20 and not served.forwarded
        code, out, err = score(make_pool(range(40), "more.jsonl"), out="more", lowly=True).wait()
        assert (code, out) == (1, "") and not (tmp_path / "more").exists()
        assert "Permission denied" in one_sentence(err) and str(tmp_path / "store") in one_sentence(err)
    finally:
        for folder in folders:
            folder.chmod(0o755)


# Ctrl-C ---------------------------------------------------------------------------------------------------------------


def test_ctrl_c_in_the_middle_of_a_pass(score, make_pool, tmp_path):
    pool = make_pool(range(240))
    child = score(pool)
    while child.running() and len(child.forwarded) < 3:
        time.sleep(0.001)
    os.kill(child.pid, signal.SIGINT)
    code, out, err = child.wait()
    assert (code, out) == (130, "") and not (tmp_path / "scores").exists()
    said = one_sentence(err)
    assert said.startswith(
        "curate: stopped; what was computed is in the store, and the same command goes on from there: curate score "
    )
    assert said.endswith(" --overwrite") and str(pool) in said
    assert not list((tmp_path / "store").rglob("*.tmp"))
    again = score(pool)
    assert again.wait()[0] == 0 and sum(again.forwarded) < 240
    assert sum(child.forwarded) + sum(again.forwarded) <= 240 + max(child.forwarded)
