"""The store: what was put is given back, whoever puts it, and never half of it."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import CurateError, InputError
from curate.store import Damaged, Store, address, default_store, hash_ids

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


def test_seconds_are_those_of_the_rows_asked_about(store):
    """A large run on the same store must not make a small one look dear."""
    artifact = store.rows(SPEC, pa.float64())
    assert artifact.seconds(["a"]) == 0
    put(artifact, {"a": 1.0, "b": 1.0, "c": "why", "d": 1.0}, seconds=2.0)
    put(artifact, {"e": 2.0}, seconds=0.5)
    again = store.rows(SPEC, pa.float64())
    for rows, seconds in (("abcde", 2.5), ("abcdexyz", 2.5), ("ae", 1.0), ("c", 0.5), ("xyz", 0.0), ("", 0.0)):
        assert again.seconds(list(rows)) == seconds, rows


def test_a_put_that_fails_leaves_nothing(store):
    artifact = store.rows(SPEC, pa.float64())
    with pytest.raises((pa.ArrowInvalid, ValueError)):
        artifact.put(["a", "b"], [1.0], [None, None])
    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError)):
        artifact.put(["a"], ["text"], [None])
    assert not artifact.folder.exists()


def damage(data, kind):
    if kind == "other":
        sink = pa.BufferOutputStream()
        table = pa.table({"something": ["else"]})
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        return sink.getvalue().to_pybytes()
    return {"empty": b"", "cut": data[: len(data) // 2], "noise": b"\x07" * 400}[kind]


@pytest.mark.parametrize("kind", ["empty", "cut", "noise", "other"])
def test_a_damaged_file_is_one_sentence_that_names_it(store, kind):
    put(store.rows(SPEC, pa.float64()), {"a": 1.0, "b": 2.0})
    artifact = Store(store.root).rows(SPEC, pa.float64())
    [path] = artifact.folder.glob("part-*")
    path.write_bytes(damage(path.read_bytes(), kind))
    for use in (artifact.table, lambda: artifact.seconds(["a"]), lambda: artifact.get(["a"]), lambda: artifact.positions(["a"])):
        with pytest.raises(CurateError, match="is damaged .*`curate store verify --repair` removes it") as error:
            use()
        assert str(path) in str(error.value) and "\n" not in str(error.value)
    path.unlink()
    assert artifact.table().num_rows == 0


def flip_a_value(path):
    """Change one bit of a number, so that the row ids beside it can still be read."""
    data, number = path.read_bytes(), np.float64(7.0).tobytes()
    assert data.count(number) == 1
    path.write_bytes(flipped(data, data.index(number), 3))


@pytest.mark.parametrize("kind", ["flipped", "empty", "cut", "noise", "other"])
def test_a_damaged_shard_stops_only_those_who_need_its_rows(store, kind):
    """Where its ids can be read they must be those that its name is made of; else it may hold any row not found elsewhere."""
    put(store.rows(SPEC, pa.float64()), {"a": 7.0, "b": 7.5})
    [path] = store.root.glob("rows/*/part-*")
    put(store.rows(SPEC, pa.float64()), {"c": 3.0, "d": 4.0}, seconds=1.0)
    if kind == "flipped":
        flip_a_value(path)
    else:
        path.write_bytes(damage(path.read_bytes(), kind))

    artifact = Store(store.root).rows(SPEC, pa.float64())
    for _ in range(2):
        assert artifact.get(["d", "c"])["value"].to_pylist() == [4.0, 3.0]
        assert artifact.seconds(["c"]) == 0.5 and (artifact.positions(["c", "d"]) >= 0).all()
        for use in (
            artifact.table,
            *(lambda use=use: use(["c", "a"]) for use in (artifact.positions, artifact.get, artifact.seconds)),
        ):
            with pytest.raises(Damaged, match="is damaged"):
                use()
    if kind == "flipped":
        assert artifact.positions(["new", "c"]).tolist()[0] == -1
        put(artifact, {"new": 5.0})
        assert artifact.get(["new"])["value"].to_pylist() == [5.0]
    else:
        with pytest.raises(Damaged, match="is damaged"):
            artifact.positions(["new", "c"])
    path.unlink()
    assert artifact.positions(["a", "c"]).tolist()[0] == -1 and artifact.table().num_rows == 2 + (kind == "flipped")


def test_of_two_shards_with_the_same_rows_the_sound_one_serves(store, monkeypatch):
    artifact = store.rows(SPEC, pa.float64())
    put(artifact, {"a": 7.0})
    with monkeypatch.context() as patch:
        patch.setattr("curate.store.rows.shard_files", lambda *given: [])
        put(artifact, {"a": 7.0}, seconds=2.0)
    for path in sorted(artifact.folder.glob("part-*")):
        data = path.read_bytes()
        flip_a_value(path)
        assert Store(store.root).rows(SPEC, pa.float64()).get(["a"])["value"].to_pylist() == [7.0]
        path.write_bytes(data)


def test_every_flipped_bit_of_a_shard_is_told_on_reading(store):
    put(store.rows(SPEC, pa.float64()), {"a": 1.0, "b": "why"}, seconds=0.5)
    [path] = store.root.glob("rows/*/part-*")
    data = path.read_bytes()
    for position in range(0, len(data), 2):
        path.write_bytes(flipped(data, position, position % 8))
        with pytest.raises(Damaged):
            Store(store.root).rows(SPEC, pa.float64()).table()
    path.write_bytes(data)
    assert Store(store.root).rows(SPEC, pa.float64()).table().num_rows == 2


def flipped(data, position, bit):
    return data[:position] + bytes([data[position] ^ (1 << bit)]) + data[position + 1 :]


def test_a_shard_that_went_away_while_in_use(store):
    artifact = store.rows(SPEC, pa.float64())
    put(artifact, {"a": 1.0})
    assert artifact.positions(["a"]).tolist() == [0]
    [path] = artifact.folder.glob("part-*")
    path.unlink()
    assert artifact.positions(["a"]).tolist() == [-1]
    put(artifact, {"a": 1.0})
    assert artifact.get(["a"])["value"].to_pylist() == [1.0]


def test_overlapping_shards_of_two_runs_give_one_value_and_always_the_same(store):
    """Two processes that compute overlapping pools cut other shards: a row may be there twice."""
    artifact = store.rows(SPEC, pa.float64())
    put(artifact, {"a": 1.0, "b": 2.0})
    put(artifact, {"b": 2.5, "c": 3.0})
    first = artifact.get(["c", "b", "a"])["value"].to_pylist()
    assert first in ([3.0, 2.0, 1.0], [3.0, 2.5, 1.0])
    assert Store(store.root).rows(SPEC, pa.float64()).get(["c", "b", "a"])["value"].to_pylist() == first


def test_the_same_rows_written_at_once_by_two_count_once(store, monkeypatch):
    artifact = store.rows(SPEC, pa.float64())
    put(artifact, {"a": 1.0, "b": 2.0}, seconds=1.0)
    with monkeypatch.context() as patch:
        patch.setattr("curate.store.rows.shard_files", lambda *given: [])  # the other had not yet written when we looked
        put(artifact, {"a": 1.0, "b": 2.0}, seconds=2.0)
    assert len(list(artifact.folder.glob("part-*"))) == 2
    assert artifact.table().num_rows == 2 and artifact.seconds(["a", "b"]) in (1.0, 2.0)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_reading_is_what_a_dict_would_give(tmp_path_factory, data):
    """Shards of any sizes, overlapping, in any order, read by any ids, against the slow and obvious."""
    artifact = Store(tmp_path_factory.mktemp("store")).rows(SPEC, pa.float64())
    names = st.sampled_from([f"r{i}" for i in range(12)])
    for _ in range(data.draw(st.integers(0, 5))):
        rows = data.draw(st.lists(names, unique=True, max_size=6))
        put(artifact, {row: float(row[1:]) for row in rows})
        asked = data.draw(st.lists(names, max_size=8))
        there = {
            name for path in artifact.folder.glob("part-*") for name in pa.ipc.open_file(path).read_all()["row_id"].to_pylist()
        }
        assert [where >= 0 for where in artifact.positions(asked)] == [name in there for name in asked]
        wanted = [name for name in asked if name in there]
        found = artifact.get(wanted)
        assert found["row_id"].to_pylist() == wanted and found["value"].to_pylist() == [float(name[1:]) for name in wanted]
        table = artifact.table()
        assert [table["row_id"][int(i)].as_py() for i in artifact.positions(wanted)] == wanted


def test_a_shard_is_checked_and_its_ids_are_read_once(store, monkeypatch):
    import curate.store.rows

    for part in ("ab", "cd", "ef"):
        put(store.rows(SPEC, pa.float64()), {name: 1.0 for name in part})
    real, opened = curate.store.rows.open_shard, []

    def watched(path, schema=None, check=True):
        opened.append((path.name.split("-")[1], check))
        return real(path, schema, check)

    monkeypatch.setattr(curate.store.rows, "open_shard", watched)
    again = Store(store.root)
    for _ in range(3):
        again.rows(SPEC, pa.float64()).positions(["a", "f"])
    assert len(opened) == 3 and all(check for _, check in opened)
    opened.clear()
    assert again.rows(SPEC, pa.float64()).get(["c", "d"]).num_rows == 2
    assert opened == [(hash_ids("cd")[:16], False)]  # the one shard that holds them
    put(store.rows(SPEC, pa.float64()), {"g": 1.0})
    opened.clear()
    assert again.rows(SPEC, pa.float64()).positions(["g"])[0] >= 0 and len(opened) == 1


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
from pathlib import Path
from curate.store import Store
store = Store(sys.argv[1])
artifact = store.rows({"race": 1}, pa.float64())
stat = Path(sys.argv[2]).stat()
key = f"{sys.argv[2]}|{stat.st_size}|{stat.st_mtime_ns}"
print("ready", flush=True)
sys.stdin.readline()
for _ in range(40):
    artifact.put([f"{i:032x}" for i in range(50)], [i / 7 for i in range(50)], [None] * 50)
    assert artifact.table().num_rows == 50
    store.make("fits", {"race": 1}, lambda folder: (folder / "weights").write_text("w" * 1000))
    store.save_hash_cache({key: "hash"})
"""


def test_two_processes_may_share_a_store(store, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    start = [sys.executable, "-c", RACE, str(store.root)]
    both = [
        subprocess.Popen(
            [*start, tmp_path / name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
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
    assert sorted({path.suffix for path in artifact.folder.iterdir()}) == [".arrow", ".json"]
    assert artifact.table().num_rows == 50
    assert len(list((store.root / "fits").iterdir())) == 1
    assert {Path(key.split("|")[0]).name for key in store.hash_cache()} == {"one", "two"}


# Content hashes of model files ----------------------------------------------------------------------------------------


def key(path):
    stat = path.stat()
    return f"{path}|{stat.st_size}|{stat.st_mtime_ns}"


@pytest.fixture
def weights(tmp_path):
    files = [tmp_path / name for name in ("a.safetensors", "b.safetensors")]
    for file in files:
        file.write_text(file.name)
    return files


def test_the_hash_cache_survives_damage(store, weights):
    a, b = weights
    store.save_hash_cache({key(a): "1"})
    store.save_hash_cache({key(b): "2"})
    assert store.hash_cache() == {key(a): "1", key(b): "2"}
    entries = sorted((store.root / "hashes").iterdir())
    for data in (b"{", b"\xff\xfe", b"[1]", b"", flipped(entries[0].read_bytes(), 20, 0)):
        entries[0].write_bytes(data)
        assert len(store.hash_cache()) == 1
    store.save_hash_cache({key(a): "1", key(b): "2"})
    assert store.hash_cache() == {key(a): "1", key(b): "2"}


def test_no_flipped_bit_gives_another_hash(store, weights):
    store.save_hash_cache({key(weights[0]): "1"})
    [entry] = (store.root / "hashes").iterdir()
    data = entry.read_bytes()
    for position in range(len(data)):
        entry.write_bytes(flipped(data, position, position % 8))
        assert store.hash_cache() == {}


def test_a_file_has_one_entry_and_the_newest_holds(store, weights):
    a, _ = weights
    old = key(a)
    store.save_hash_cache({old: "1"})
    a.write_text("longer than before")
    store.save_hash_cache({old: "1", key(a): "2"})  # a process that knows both
    assert store.hash_cache() == {key(a): "2"}
    store.save_hash_cache({old: "1"})  # one that knows the old one alone
    assert store.hash_cache() == {key(a): "2"}


def test_a_model_is_read_once_and_again_when_it_changes(store, tiny, tmp_path, monkeypatch):
    """Over several runs, each with a fresh view of the store, as several commands have."""
    from curate.lm import models

    copy = Path(shutil.copytree(tiny, tmp_path / "model"))
    real, read = hashlib.file_digest, []
    monkeypatch.setattr(
        models.hashlib, "file_digest", lambda file, name: (read.append(Path(file.name).name), real(file, name))[1]
    )

    def fingerprint():
        from curate.engine import Engine

        return Engine(store=Store(store.root)).model_hash(models.ModelSpec(str(copy)))

    first = fingerprint()
    assert sorted(read) == ["config.json", "model.safetensors"]
    assert fingerprint() == fingerprint() == first and len(read) == 2
    file = copy / "model.safetensors"
    os.utime(file, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns + 1))  # touched: read again, the same
    assert fingerprint() == first and read[2:] == ["model.safetensors"]
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert fingerprint() != first and read[3:] == ["model.safetensors"]
    (copy / "config.json").write_text((tiny / "config.json").read_text() + " ")
    assert fingerprint() != first and read[4:] == ["config.json"]


# The folder -----------------------------------------------------------------------------------------------------------


def test_a_store_of_another_version_is_refused(store):
    for text in ("1\n", "3\n", "2", "", "\xff", "2\n\n"):
        (store.root / "VERSION").write_text(text)
        with pytest.raises(InputError, match="the store .* is of version .*, and this curate works with version 2") as error:
            Store(store.root)
        assert "\n" not in str(error.value)
    (store.root / "VERSION").unlink()
    assert Store(store.root).root == store.root  # an empty folder
    (store.root / "VERSION").unlink()
    (store.root / "rows").mkdir()
    with pytest.raises(InputError, match="is of version '1'"):  # the first version did not say
        Store(store.root)


def test_asking_after_a_store_makes_none(tmp_path):
    with pytest.raises(InputError, match="there is no store in"):
        Store.existing(tmp_path / "store")
    assert list(tmp_path.iterdir()) == []
    Store(tmp_path / "store")
    assert Store.existing(tmp_path / "store").root == tmp_path / "store"


def test_reading_makes_no_file(store):
    store.rows(SPEC, pa.float64()).positions(["a"])
    store.folder("fits", SPEC)
    assert [path.name for path in store.root.iterdir()] == ["VERSION"]


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
