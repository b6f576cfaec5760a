"""The store: what was put is given back, whoever puts it, and never half of it."""

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from curate.errors import CurateError
from curate.store import Store, address, default_store, hash_ids

SPEC = {"kind": "observable", "model": "m", "encoding": {"max_length": 512, "tokenizer": "t"}}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def put(artifact, values, seconds=0.0):
    """Rows by id; a text is the reason for a null."""
    missing = [value if isinstance(value, str) else None for value in values.values()]
    numbers = [None if isinstance(value, str) else value for value in values.values()]
    artifact.put(list(values), numbers, missing, seconds)


def test_an_address_does_not_depend_on_the_order_of_keys():
    other = {"encoding": {"tokenizer": "t", "max_length": 512}, "model": "m", "kind": "observable"}
    assert address(SPEC) == address(other) and len(address(SPEC)) == 24
    assert len({address(SPEC), address({**SPEC, "model": "n"}), address({**SPEC, "encoding": {}})}) == 3
    with pytest.raises(ValueError):
        address({"x": float("nan")})


def test_a_set_of_rows_has_one_hash():
    assert hash_ids(["a", "b"]) == hash_ids(["b", "a"]) != hash_ids(["a", "c"])


def test_rows_come_back_in_the_order_asked_for(store):
    artifact = store.rows(SPEC, pa.float64())
    assert artifact.table().num_rows == 0 and artifact.positions(["a"]).tolist() == [-1]
    put(artifact, {"b": 2.0, "a": 1.0, "x": "the reply is cut off"})
    put(artifact, {"c": 3.0})
    found = store.rows(SPEC, pa.float64()).get(["c", "x", "a", "b", "a"])
    assert found["row_id"].to_pylist() == ["c", "x", "a", "b", "a"]
    assert found["value"].to_pylist() == [3.0, None, 1.0, 2.0, 1.0]
    assert found["reason"].to_pylist() == [None, "the reply is cut off", None, None, None]
    assert (artifact.positions(["d", "a"]) >= 0).tolist() == [False, True]
    with pytest.raises(CurateError, match="2 rows are missing"):
        artifact.get(["a", "d", "e"])


def test_values_of_any_length(store):
    artifact = store.rows(SPEC, pa.list_(pa.float32()))
    artifact.put(["a", "b", "c"], [np.array([1, 2], np.float32), None, np.zeros(0, np.float32)], [None, "why", None])
    assert artifact.get(["c", "a", "b"])["value"].to_pylist() == [[], [1, 2], None]


def test_artifacts_do_not_mix(store):
    one, two = store.rows(SPEC, pa.float64()), store.rows({**SPEC, "model": "n"}, pa.float64())
    put(one, {"a": 1.0})
    put(two, {"a": 2.0, "b": 3.0})
    assert one.get(["a"])["value"].to_pylist() == [1.0] and one.positions(["b"]).tolist() == [-1]
    assert two.get(["a"])["value"].to_pylist() == [2.0]
    assert json.loads((two.folder / "spec.json").read_text()) == {**SPEC, "model": "n"}


def test_the_same_shard_is_one_file(store):
    artifact = store.rows(SPEC, pa.float64())
    put(artifact, {"a": 1.0, "b": 2.0})
    put(artifact, {"a": 1.0, "b": 2.0})
    put(artifact, {})
    assert len(list(artifact.folder.glob("part-*"))) == 1 and artifact.table().num_rows == 2


def test_seconds_are_summed_over_shards(store):
    artifact = store.rows(SPEC, pa.float64())
    assert artifact.seconds() == 0
    put(artifact, {"a": 1.0}, seconds=1.25)
    put(artifact, {"b": 2.0}, seconds=0.5)
    assert store.rows(SPEC, pa.float64()).seconds() == 1.75


def test_a_put_that_fails_leaves_nothing(store):
    artifact = store.rows(SPEC, pa.float64())
    before = sorted(artifact.folder.iterdir())
    with pytest.raises((pa.ArrowInvalid, ValueError)):
        artifact.put(["a", "b"], [1.0], [None, None])
    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError)):
        artifact.put(["a"], ["text"], [None])
    assert sorted(artifact.folder.iterdir()) == before


def test_a_half_written_file_is_never_read(store, monkeypatch):
    """Killed while writing: the temporary file stays behind, and nobody takes it for a shard."""
    artifact = store.rows(SPEC, pa.float64())
    put(artifact, {"a": 1.0})

    def killed(source, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("os.replace", killed)
        patch.setattr("pathlib.Path.unlink", lambda *args, **keys: None)  # a killed process does not clean up
        put(artifact, {"b": 2.0})
    assert len(list(artifact.folder.iterdir())) == 3
    assert artifact.table()["row_id"].to_pylist() == ["a"]
    put(artifact, {"b": 2.0})
    assert artifact.get(["b", "a"])["value"].to_pylist() == [2.0, 1.0]


def damage(data, kind):
    if kind == "other":
        sink = pa.BufferOutputStream()
        table = pa.table({"something": ["else"]})
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        return sink.getvalue().to_pybytes()
    footer = data[:-30] + bytes(8) + data[-22:]
    return {"empty": b"", "cut": data[: len(data) // 2], "noise": b"\x07" * 400, "footer": footer}[kind]


@pytest.mark.parametrize("kind", ["empty", "cut", "noise", "footer", "other"])
def test_a_damaged_file_is_one_sentence_that_names_it(store, kind):
    artifact = store.rows(SPEC, pa.float64())
    put(artifact, {"a": 1.0, "b": 2.0})
    [path] = artifact.folder.glob("part-*")
    path.write_bytes(damage(path.read_bytes(), kind))
    for use in (artifact.table, artifact.seconds, lambda: artifact.get(["a"])):
        with pytest.raises(CurateError, match="is damaged .*; remove it and run again") as error:
            use()
        assert str(path) in str(error.value) and "\n" not in str(error.value)
    path.unlink()
    assert artifact.table().num_rows == 0


def test_no_flipped_bit_raises_anything_else(store):
    """Damage anywhere is either a sentence or other values (there is no checksum), never a traceback."""
    artifact = store.rows(SPEC, pa.float64())
    put(artifact, {"a": 1.0, "b": "why"})
    [path] = artifact.folder.glob("part-*")
    data, told = path.read_bytes(), 0
    for position in range(0, len(data), 3):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x41]) + data[position + 1 :])
        try:
            artifact.table()
        except CurateError:
            told += 1
    assert told > 50


def test_a_fit_is_built_once(store):
    built = []

    def build(folder):
        built.append(folder)
        (folder / "sub").mkdir()
        (folder / "sub" / "weights").write_text("w")

    assert not store.has("fits", SPEC)
    first = store.make("fits", SPEC, build)
    assert store.make("fits", SPEC, build) == first == store.folder("fits", SPEC) and len(built) == 1
    assert store.has("fits", SPEC) and (first / "sub" / "weights").read_text() == "w"
    assert json.loads((first / "spec.json").read_text()) == SPEC
    assert built[0] != first and not built[0].exists()


def test_a_killed_build_leaves_nothing(store):
    def killed(folder):
        (folder / "weights").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.make("fits", SPEC, killed)
    assert not store.has("fits", SPEC) and list((store.root / "fits").iterdir()) == []
    store.make("fits", SPEC, lambda folder: (folder / "weights").write_text("whole"))
    assert (store.folder("fits", SPEC) / "weights").read_text() == "whole"


def test_who_builds_second_keeps_the_first(store):
    def slow(folder):
        store.make("fits", SPEC, lambda other: (other / "by").write_text("the other"))
        (folder / "by").write_text("us")

    folder = store.make("fits", SPEC, slow)
    assert (folder / "by").read_text() == "the other" and len(list((store.root / "fits").iterdir())) == 1


RACE = """
import sys, pyarrow as pa
from curate.store import Store
store = Store(sys.argv[1])
artifact = store.rows({"race": 1}, pa.float64())
print("ready", flush=True)
sys.stdin.readline()
for _ in range(40):
    artifact.put([f"{i:032x}" for i in range(50)], [i / 7 for i in range(50)], [None] * 50)
    assert artifact.table().num_rows == 50
    store.make("fits", {"race": 1}, lambda folder: (folder / "weights").write_text("w" * 1000))
    store.save_hash_cache({sys.argv[2]: "hash"})
"""


def test_two_processes_may_share_a_store(store):
    start = [sys.executable, "-c", RACE, str(store.root)]
    both = [
        subprocess.Popen([*start, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=60)[1] for process in both] == ["", ""]
    artifact = store.rows({"race": 1}, pa.float64())
    assert artifact.get([f"{49:032x}"])["value"].to_pylist() == [7.0]
    assert sorted(path.suffix for path in artifact.folder.iterdir()) == [".arrow", ".json"]
    assert len(list((store.root / "fits").iterdir())) == 1
    assert set(store.hash_cache()) <= {"one", "two"} and store.hash_cache()


def test_the_hash_cache_survives_damage(store):
    store.save_hash_cache({"a": "1"})
    store.save_hash_cache({"b": "2"})
    assert store.hash_cache() == {"a": "1", "b": "2"}
    for text in (b"{", b"\xff\xfe", b"[1]"):
        (store.root / "hashes.json").write_bytes(text)
        assert store.hash_cache() == {}
    store.save_hash_cache({"c": "3"})
    assert store.hash_cache() == {"c": "3"}


def test_where_the_store_is(monkeypatch, tmp_path):
    monkeypatch.setenv("CURATE_STORE", str(tmp_path / "a"))
    assert default_store() == tmp_path / "a" == Store().root
    monkeypatch.delenv("CURATE_STORE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_store() == tmp_path / "curate"


def test_a_store_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CurateError, match="the store .* cannot be made: "):
        Store(tmp_path / "file" / "store")
