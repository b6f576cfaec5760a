"""Every version number counts: what was kept under one does not serve under the next."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import curate
from curate.automatic.search import plan_spec
from curate.comparison.arms import Arm, Bench
from curate.engine import Engine
from curate.errors import InputError
from curate.evaluation.tasks import Task
from curate.lm.gradient_config import FreshAdapters, GradientConfig
from curate.lm.models import ModelSpec
from curate.preparation import as_pool, hold_out
from curate.requests import Fit, Generate, Gradients, Judge, Observe, Vocabulary
from curate.store import Store, address
from curate.training.config import TrainConfig

CODE = Path(curate.__file__).parent
NAMES = sorted(
    {name for path in CODE.rglob("*.py") for name in re.findall(r"^([A-Z_]+_VERSION) = ", path.read_text(), re.MULTILINE)}
)


@pytest.fixture
def addresses(tiny, make_pool, tmp_path):
    """A function that says where each kind of result lies, and whether a store that is there opens."""
    from curate.training.run import identity

    rated = as_pool(make_pool(range(12), messages=weighted))
    engine, spec = Engine(store=Store(tmp_path / "store"), device="cpu"), ModelSpec(str(tiny))
    _, rows, _ = engine.add("pool", rated, spec)
    task = Task("sums", as_pool(make_pool(range(100, 104), "dev.jsonl")), "exact_match")
    held = hold_out(engine, task, spec)
    bench = Bench(engine, spec, rows, [(held.task, held.rows)], np.ones(rows.size, dtype=np.int64))
    network, recipe, encodings = engine.load_plain(spec), TrainConfig(), engine.encodings(spec, rows)
    data = SimpleNamespace(model=spec, others={}, embedder=SimpleNamespace(label="hidden"))
    setup = SimpleNamespace(
        bench=bench, prepared=SimpleNamespace(data=data), design=SimpleNamespace(recipe=recipe),
    )  # fmt: skip
    search = SimpleNamespace(setup=setup, engine=engine, confirming=bench, methods=["longest"], budgets=["10%"], seed=0)
    ledger = SimpleNamespace(spend=SimpleNamespace(amount=60.0, unit="seconds"))
    requests = {
        "observable": Observe(spec, rows, "mean_loss"),
        "replies": Generate(spec, rows),
        "judgements": Judge(spec, rows, "Read this: ", (" Is it so?",)),
        "gradients": Gradients(spec, rows, GradientConfig(fresh=FreshAdapters())),
    }

    def found():
        specs = {
            "encoding": engine.encoding_spec(spec),
            "weights": engine.weight_spec(spec),
            "fit": engine.fit_spec(Fit(spec, rows, recipe)),
            "words": engine.fit_spec(Vocabulary(4, rows, "conversation")),
            "arm": bench.spec(Arm("some", "1", 0, (0, 1), recipe)),
            "plan": plan_spec(search, ledger),
            "state": {"fingerprint": identity(network, recipe, encodings, encodings.loss_mask, ())},
        }
        for name, request in requests.items():
            [artifact] = engine.work(request).artifacts().values()
            specs[name] = artifact.spec
        return {name: address(spec) for name, spec in specs.items()} | {"store": opens(tmp_path / "store")}

    return found


def weighted(i):
    return [{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": f"{i}.", "weight": 0.5}]


def opens(root):
    try:
        return str(Store(root).root)
    except InputError:
        return "of another version"


def test_there_are_versions():
    assert {"GENERATE_VERSION", "PROJECTION_VERSION", "STORE_VERSION", "TRAIN_VERSION"} <= set(NAMES)


def test_every_version_reaches_an_address(addresses, monkeypatch):
    before, unread = addresses(), []
    assert addresses() == before
    for name in NAMES:
        with monkeypatch.context() as patch:
            for module in [module for key, module in sys.modules.items() if key.split(".")[0] == "curate"]:
                if hasattr(module, name):
                    patch.setattr(module, name, 99)
            if addresses() == before:
                unread.append(name)
    assert unread == []
