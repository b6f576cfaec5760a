"""`curate store ls | du | gc | verify` as they are typed."""

import json
import os
import time

import pyarrow as pa
import pytest

from curate.cli import _main
from curate.store import Store, write_manifest


@pytest.fixture
def store(tmp_path):
    """Two artifacts, unused for a month; a manifest lists the first."""
    store = Store(tmp_path / "store")
    for number in range(2):
        store.rows({"kind": "observable", "observable": f"o{number}", "number": number}, pa.float64()).put(["a"], [1.0], [None])
    kept = next(item for item in store.specs("rows") if item[1]["number"] == 0)[0]
    (tmp_path / "out").mkdir()
    made = {"folder": str(store.root), "artifacts": [f"rows/{kept.name}"]}
    write_manifest(tmp_path / "out" / "manifest.json", {"store": made})
    for folder in store.folders("rows"):
        os.utime(folder, (time.time() - 30 * 86_400,) * 2)
    return store


@pytest.fixture
def run(capsys, monkeypatch, store):
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words, where=store.root):
        capsys.readouterr()
        code = _main(["store", *words, "--store", str(where)])
        return code, *capsys.readouterr()

    return call


def as_json(result, code=0):
    found, out, err = result
    assert (found, err) == (code, "")
    return json.loads(out)


def test_ls_and_du(run, tmp_path):
    code, out, _ = run("ls")
    assert code == 0 and "o0 by" in out and "30 days" in out and "none" in out
    found = as_json(run("ls", "--json"))["artifacts"]
    assert sorted(len(line["manifests"]) for line in found) == [0, 1] and {line["rows"] for line in found} == {1}
    assert run("du")[0] == 0 and as_json(run("du", "--json"))["kinds"]["rows"]["artifacts"] == 2


def test_gc_lists_first_and_removes_when_told(run, store):
    code, out, _ = run("gc")
    assert code == 0 and "would remove" in out and "--yes" in out
    assert "nothing to remove" in run("gc", "--older-than", "60d")[1]
    found = as_json(run("gc", "--json"))
    assert len(found["garbage"]) == 1 and found["removed"] is None and found["referred"] == 1 and len(store.folders("rows")) == 2
    found = as_json(run("gc", "--yes", "--json"))
    assert found["removed"] == found["bytes"] > 0 and len(store.folders("rows")) == 1
    assert "nothing to remove" in run("gc", "--yes")[1]


def test_verify_exits_with_1_until_it_is_repaired(run, store):
    assert as_json(run("verify", "--json"))["damaged"] == []
    shard = next(store.root.glob("rows/*/part-*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    code, out, _ = run("verify")
    assert code == 1 and f"damaged  {shard}" in out and "--repair" in out
    assert as_json(run("verify", "--json"), code=1)["damaged"][0]["file"] == str(shard)
    before = sum(path.stat().st_size for path in store.root.glob("*/*/*"))
    code, out, _ = run("verify", "--repair")
    assert code == 0 and not shard.exists() and "2 artifacts" in out and "1 damaged file removed; left are 2 artifacts" in out
    shard.write_bytes(b"")
    found = as_json(run("verify", "--repair", "--json"))
    assert found["repaired"] and found["artifacts"] == 2 and len(found["damaged"]) == 1
    assert found["left"] == {"artifacts": 2, "bytes": sum(path.stat().st_size for path in store.root.glob("*/*/*"))}
    assert found["left"]["bytes"] < before
    assert as_json(run("verify", "--json"))["left"] is None
    assert run("verify")[0] == 0


def test_at_fault(run, store, tmp_path):
    for verb in ("ls", "du", "gc", "verify"):
        code, out, err = run(verb, where=tmp_path / "none")
        assert (code, out) == (2, "") and err == f"curate: there is no store in {tmp_path / 'none'}\n"
    assert not (tmp_path / "none").exists()
    for text in ("soon", "7", "-1d", "d", "1w"):
        code, out, err = run("gc", f"--older-than={text}")
        assert (code, out) == (2, "") and "write 30m, 12h or 7d" in err
    (store.root / "VERSION").write_text("1\n")
    code, out, err = run("ls")
    assert (code, out) == (2, "") and "is of version '1'" in err and err.count("\n") == 1


def test_no_verb_prints_the_help(capsys):
    assert _main(["store"]) == 2
    said = "".join(capsys.readouterr())
    assert said.count("Usage: curate store") == 1 and "verify" in said and "curate: ;" not in said
