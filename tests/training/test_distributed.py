"""Two processes train as one does; what they leave is written once."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import curate
from curate.training.checkpoints import read_optimizer
from curate.training.config import TrainConfig

SCRIPT = Path(__file__).with_name("distributed.py")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
CASES = ["full", "lora", "accumulated", "crumbs", "asft", "asft lora", "eva", "rho-1", "sstoken", "sstoken followed", "kept"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folders of one process and of two."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    pair = subprocess.Popen([*TORCHRUN, str(SCRIPT), str(two)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    runpy.run_path(str(SCRIPT))["main"](one)
    said, _ = pair.communicate(timeout=240)
    assert pair.returncode == 0, said
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
    given = {"steps": 3, "batch_tokens": 128, "lora_r": 2, "save_checkpoints": 1, "loss": "asft", "anchor": 0.2}
    given |= {"lora_variant": "rslora", "masked_thought": 0.1, "learning_rate": 0.01}
    options = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    words = ["-m", "curate.cli", "train", str(pool), "--model", str(tiny), *options, "--save-optimizer", "--json"]
    pair = subprocess.Popen([*TORCHRUN, *words, "--out", str(tmp_path / "two")], stdout=subprocess.PIPE, text=True)
    recipe = TrainConfig(**given, save_optimizer=True)
    alone = curate.train(pool, out=tmp_path / "one", model=tiny, recipe=recipe)
    said, _ = pair.communicate(timeout=240)
    assert pair.returncode == 0
    together = json.loads(said)
    assert together["last_loss"] == pytest.approx(alone["last_loss"], abs=1e-5) and together["tokens"] == alone["tokens"]
    for file in ("model.safetensors", "checkpoint-3/training/adapter_model.safetensors"):
        one, two = load_file(tmp_path / "one" / file), load_file(tmp_path / "two" / file)
        assert one.keys() == two.keys()
        for name in one:
            torch.testing.assert_close(two[name], one[name], atol=1e-5, rtol=0, msg=name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "pool.jsonl", "two"]
