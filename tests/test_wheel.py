"""The demo runs from an installed wheel, with nothing of the checkout on the path."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Without site (-S) no .pth file is read, so an editable installation is not on the path, though its metadata is; -I
# leaves out the working folder and PYTHONPATH. The dependencies come after what was installed from the wheel.
START = """
import sys
sys.path[:0] = [{target!r}]
sys.path.append({packages!r})
"""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def python(wheel, tmp_path_factory):
    """Runs Python code in an empty folder with the wheel installed."""
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    subprocess.run([*command, "--target", str(target), str(wheel)], check=True, capture_output=True)
    start = START.format(target=str(target), packages=sysconfig.get_path("purelib"))

    def run(code, cwd):
        environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "CURATE_STORE")}
        command = [sys.executable, "-I", "-S", "-c", start + code]
        done = subprocess.run(command, cwd=cwd, env={**environment, "HOME": str(cwd)}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.target = target
    return run


def test_the_wheel_holds_what_is_needed_and_no_more(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    data = {name.removeprefix("curate/_data/") for name in names if name.startswith("curate/_data/")}
    assert {"models/base-4m/model.safetensors", "models/base-4m/tokenizer.json", "models/base-4m/chat_template.jinja"} <= data
    assert {"sample/pool.parquet", "sample/dev.parquet", "sample/test.parquet"} <= data
    assert {"recipes/cleaned.yaml", "recipes/quick.yaml", "recipes/targeted.yaml", "recipes/tokens.yaml"} <= data
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".ipynb"))]
    assert not [name for name in data if name.endswith(".py")]
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"curate", "scorers", "flows"}
    modules = {str(path.relative_to(ROOT)) for part in ("curate", "scorers", "flows") for path in (ROOT / part).rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules


def test_everything_resolves_in_the_installed_wheel(python, tmp_path):
    """Although the metadata of an editable installation may be found too."""
    found = json.loads(
        python(
            """
import json
from importlib.metadata import entry_points
import curate, flows, scorers
from curate.recipe import find_recipe, shipped
from curate.registry import method_class, method_names
from curate.resources import default_model, sample
files = [curate.__file__, flows.__file__, scorers.__file__, default_model(), sample("pool")]
files += [find_recipe(name) for name in shipped()]
files += [sys.modules[method_class(name).__module__].__file__ for name in method_names()]
print(json.dumps({"files": [str(f) for f in files], "names": method_names()}))
""",
            tmp_path,
        )
    )
    assert {"random", "balanced", "longest", "perplexity", "lobass"} <= set(found["names"])
    assert len(found["names"]) == len(set(found["names"]))
    assert all(Path(file).is_relative_to(python.target) for file in found["files"]), found["files"]


def test_the_demo_runs(python, tmp_path):
    arguments = ["demo", "--rows", "60", "--tokens", "600", "--seeds", "2", "--threads", "1", "--out", "X", "--json"]
    code = f"sys.argv[1:] = {arguments!r}\nimport runpy; runpy.run_module('curate.cli', run_name='__main__')"
    out = python(code, tmp_path)
    assert out.count("\n") == 1
    result = json.loads(out)
    methods = {arm["method"] for arm in result["verdict"]["arms"]}
    assert {"random", "balanced", "longest", "perplexity", "lobass", "full", "untrained"} <= methods
    assert all(arm["mean"] > 0 for arm in result["verdict"]["arms"])
    assert {line["method"] for line in result["auroc"]} >= {"random", "longest", "perplexity", "lobass"}
    assert result["enrichment"] and result["out"] == "X"
    assert {path.name for path in (tmp_path / "X").iterdir()} >= {"verdict", "selection", "store"}
    assert len((tmp_path / "X" / "selection" / "data.jsonl").read_text().splitlines()) == 6
    manifest = json.loads((tmp_path / "X" / "selection" / "manifest.json").read_text())
    assert Path(manifest["model"]["name"]).is_relative_to(python.target)
    assert not (tmp_path / ".cache").exists() or not list((tmp_path / ".cache").glob("curate/*"))
