"""Two processes train as one does; what they leave is written once."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from curate.training.checkpoints import read_optimizer

SCRIPT = Path(__file__).with_name("distributed.py")
CASES = ["full", "lora", "accumulated", "crumbs", "asft", "asft lora", "eva", "kept"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folders of one process and of two."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    started = [
        subprocess.Popen([*command, str(SCRIPT), str(folder)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for command, folder in ([[sys.executable], one], [torchrun, two])
    ]
    for process in started:
        said, _ = process.communicate(timeout=240)
        assert process.returncode == 0, said
    return one, two


@pytest.mark.parametrize("case", CASES)
def test_two_processes_equal_one(runs, case):
    one, two = runs
    alone = load_file(one / f"{case}.0.safetensors")
    losses = json.loads((one / f"{case}.0.json").read_text())
    assert len(losses) == 4 and np.ptp(losses) > 1e-3
    for rank in (0, 1):
        together = load_file(two / f"{case}.{rank}.safetensors")
        assert together.keys() == alone.keys()
        for name in alone:
            torch.testing.assert_close(together[name], alone[name], atol=1e-5, rtol=0, msg=name)
        assert json.loads((two / f"{case}.{rank}.json").read_text()) == pytest.approx(losses, abs=1e-5)


def test_what_is_kept_is_written_once_and_the_same(runs):
    one, two = (folder / "kept" for folder in runs)
    files = {path.relative_to(two) for path in two.rglob("*")}
    assert files == {path.relative_to(one) for path in one.rglob("*")}
    assert Path("states/step-4/state.json") in files and not any(".tmp" in str(path) for path in files)
    for step in (2, 4):
        alone, together = (read_optimizer(folder / f"checkpoint-{step}") for folder in (one, two))
        assert alone.keys() == together.keys()
        for name, moments in alone.items():
            torch.testing.assert_close(together[name]["exp_avg"], moments["exp_avg"], atol=1e-5, rtol=0)
            assert moments["step"] == together[name]["step"] == step


def test_the_command_line_under_torchrun(make_pool, tiny, tmp_path):
    """One account, one folder, and the model that one process makes."""
    pool = make_pool(range(20))
    options = ["--model", str(tiny), "--steps", "3", "--batch-tokens", "128", "--lr", "0.01", "--lora-r", "2", "--save-checkpoints", "1"]
    options += ["--loss", "asft", "--anchor", "0.2", "--lora-variant", "rslora", "--masked-thought", "0.1", "--save-optimizer"]

    def run(name, *launcher):
        words = ["curate.cli", "train", str(pool), *options, "--out", str(tmp_path / name), "--json"]
        done = subprocess.run([sys.executable, *launcher, "-m", *words], capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    alone = run("alone")
    together = run("together", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    assert together["last_loss"] == pytest.approx(alone["last_loss"], abs=1e-5) and together["tokens"] == alone["tokens"]
    for file in ("model.safetensors", "checkpoint-3/training/adapter_model.safetensors"):
        one, two = load_file(tmp_path / "alone" / file), load_file(tmp_path / "together" / file)
        assert one.keys() == two.keys()
        for name in one:
            torch.testing.assert_close(two[name], one[name], atol=1e-5, rtol=0, msg=name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "pool.jsonl", "together"]
