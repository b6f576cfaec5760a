"""docs/add_a_method.md, followed word for word."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "add_a_method.md").read_text()


@pytest.fixture
def package(tmp_path):
    """The page's files, and what `pip install .` makes of its pyproject.toml: the module beside its entry point."""
    files = dict(re.findall(r"`([\w.]+)`:\n\n```\w+\n(.*?)```", PAGE, flags=re.S))
    assert set(files) == {"hesitation.py", "pyproject.toml", "test_hesitation.py"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    group, line = re.search(r'entry-points\."([\w.]+)"\]\n([^\n]+)', files["pyproject.toml"]).groups()
    name, _, value = line.partition(" = ")
    info = tmp_path / "hesitation-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hesitation\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {json.loads(value)}\n")
    return tmp_path


def run(folder, *words):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), "COLUMNS": "200"}
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)


def test_the_page_is_true(package, make_pool, tiny):
    make_pool(range(40))
    make_pool(range(100, 106), name="dev.jsonl")
    commands = re.search(r"```sh\n(.*?)```", PAGE, flags=re.S)[1].splitlines()
    assert [command.split()[1] for command in commands] == ["methods", "select", "compare"]
    small = {"methods": [], "select": ["--model", str(tiny)], "compare": ["--model", str(tiny), "--tokens", "200", "--no-full"]}
    said = []
    for command in commands:
        words = command.split()[1:]
        done = run(package, sys.executable, "-m", "curate.cli", *words, *small[words[0]])
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert "Keep the rows over whose replies the model hesitates" in said[0] and "skip" in said[0]
    assert json.loads((package / "picked" / "manifest.json").read_text())["method"]["settings"] == {"skip": 0.2}
    arms = json.loads((package / "verdict" / "verdict.json").read_text())["arms"]
    assert {"hesitation", "random", "longest"} <= {arm["method"] for arm in arms}
    tested = run(package, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_hesitation.py")
    assert tested.returncode == 0, tested.stdout
