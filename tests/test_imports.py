"""The command line answers at once: nothing heavy is imported before a command needs it."""

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "prefect", "datasets", "peft", "sklearn", "scipy", "faiss")
SHOW = """
import json, sys
from curate.cli import _main
code = _main({arguments!r})
print(json.dumps({{"code": code, "modules": [m for m in {heavy!r} if m in sys.modules]}}), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["methods"], ["methods", "--json"], ["compare", "--help"], ["select"], ["select", "gone.jsonl"]]
)
def test_imports_nothing_heavy(arguments):
    source = SHOW.format(arguments=arguments, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert json.loads(done.stderr.splitlines()[-1])["modules"] == []


def test_looking_at_a_pool_imports_no_torch(small_pool, tmp_path):
    """It takes the longest to import, and a tokenizer does not need it."""
    source = SHOW.format(arguments=["inspect", str(small_pool), "--store", str(tmp_path / "store")], heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert json.loads(done.stderr.splitlines()[-1]) == {"code": 0, "modules": ["transformers"]}


def test_importing_the_library_imports_nothing_heavy():
    source = f"import curate, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there():
    import curate

    assert {name for name in curate.__all__ if getattr(curate, name) is None} == set()
    with pytest.raises(AttributeError, match="no_such_name"):
        curate.no_such_name  # noqa: B018


def test_methods_are_described():
    done = subprocess.run([sys.executable, "-m", "curate.cli", "methods", "--json"], capture_output=True, text=True, check=True)
    found = {method["name"]: method for method in json.loads(done.stdout)["methods"]}
    assert {"random", "balanced", "longest", "perplexity", "lobass"} <= set(found)
    assert found["lobass"]["paper"] == "arXiv 2310.13008" and "fit" in found["lobass"]["asks_for"]
    assert found["perplexity"]["settings"] == {"window": "mid"}
    assert found["random"]["cost"] == "nothing before training" and found["lobass"]["cost"] == "a training and passes"
