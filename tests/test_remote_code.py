"""Models whose folder brings code of its own: it runs where that was asked for, in every step, and nowhere else."""

import json
import shutil

import numpy as np
import pytest

import curate
from curate.cli import _main
from curate.engine import Engine
from curate.errors import InputError
from curate.lm.models import ModelSpec
from curate.store import Store
from curate.training.config import TrainConfig

CODE = """
from transformers import LlamaConfig, LlamaForCausalLM


class OwnConfig(LlamaConfig):
    model_type = "own"


class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
"""


@pytest.fixture
def own(tiny, tmp_path, monkeypatch):
    """The tiny model as one of its own kind."""
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = shutil.copytree(tiny, tmp_path / "own")
    (folder / "modeling_own.py").write_text(CODE)
    config = json.loads((folder / "config.json").read_text())
    code = {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": code}))
    return folder


def test_it_runs_in_every_step_that_is_asked_to_trust_it(own, tiny, small_pool, make_pool, tmp_path):
    engine = Engine(store=Store(tmp_path / "store"), device="cpu", trust_remote_code=True)
    dev = make_pool(range(100, 104), "dev.jsonl")
    quick = TrainConfig(batch_tokens=256, learning_rate=1e-3)
    losses = curate.score(small_pool, "lobass", model=own, engine=engine, recipe=quick).frame["lobass"]
    assert losses.null_count() == 0
    mine = curate.evaluate(dev, model=own, engine=engine).frame["value"][0]
    plain = curate.evaluate(dev, model=tiny, engine=Engine(store=Store(tmp_path / "plain"), device="cpu")).frame["value"][0]
    assert np.isclose(mine, plain)
    found = curate.compare(
        small_pool, ["longest"], budgets=["25%"], evals=dev, seeds=2, tokens=100, model=own, engine=engine, recipe=quick
    )
    assert {arm["kind"] for arm in found.arms} >= {"untrained", "random", "full", "ceiling"}


def test_it_does_not_run_unasked(own, small_pool, make_pool, tmp_path, capfd):
    (own / "modeling_own.py").write_text(CODE + f"\nopen({str(tmp_path / 'ran')!r}, 'w')\n")
    dev = make_pool(range(100, 104), "dev.jsonl")
    with pytest.raises(InputError, match="cannot be loaded"):
        curate.evaluate(dev, model=own, engine=Engine(store=Store(tmp_path / "store"), device="cpu"))
    command = ["evaluate", str(own), "--eval", str(dev), "--store", str(tmp_path / "store"), "--device", "cpu"]
    assert _main(command) != 0 and not (tmp_path / "ran").exists()
    assert _main([*command, "--trust-remote-code"]) == 0 and (tmp_path / "ran").exists()


def test_the_code_is_part_of_the_model_where_it_runs(own, tmp_path):
    def hashes():
        spec = ModelSpec(str(own))
        return [Engine(store=Store(tmp_path / "store"), trust_remote_code=trust).model_hash(spec) for trust in (False, True)]

    before = hashes()
    (own / "modeling_own.py").write_text(CODE + "\n# changed\n")
    after = hashes()
    assert before[0] == after[0] and before[1] != after[1]
