"""ls, du, gc and verify: what is kept, what goes, and what is found."""

import io
import json
import os
import shutil
import time
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

import curate
from curate.engine import Engine
from curate.errors import InputError
from curate.report.store import age, amount, listing, show_collection, show_listing, show_usage, show_verified, usage
from curate.store import Damaged, Store, write_manifest
from curate.store.references import references
from curate.store.verbs import RECENT, Collection, artifacts, collect, remaining, remove, repair, verify
from curate.training.config import TrainConfig

QUICK = TrainConfig(adapter="none", learning_rate=1e-2, batch_tokens=256)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def spec(number, **more):
    return {"kind": "observable", "observable": f"o{number}", "model": "m" * 32, "dtype": "float32", **more}


def put(store, spec, count=3):
    artifact = store.rows(spec, pa.float64())
    artifact.put([f"{i:032x}" for i in range(count)], [i / 7 for i in range(count)], [None] * count)
    return f"rows/{artifact.folder.name}"


def fit(store, spec):
    def build(folder):
        (folder / "model").mkdir()
        (folder / "model" / "weights").write_bytes(bytes(range(200)))
        (folder / "rows.txt").write_text("a\nb\n")

    return f"fits/{store.make('fits', spec, build).name}"


def manifest(store, path, *names):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_manifest(path, {"store": {"folder": str(store.root), "artifacts": list(names)}})


def make_old(store, days=30.0):
    """As if nothing had been used for so long."""
    then = time.time() - days * 86_400
    for path in [*store.root.rglob("*")]:
        os.utime(path, (then, then))


def left(store):
    return {item.name for item in artifacts(store)}


def gc(store, older_than=0.0):
    found = collect(store, older_than)
    remove(found.garbage)
    return found


# gc -------------------------------------------------------------------------------------------------------------------


def test_what_a_manifest_lists_stays_and_the_rest_goes(store, tmp_path):
    kept, gone, fitted = put(store, spec(1)), put(store, spec(2)), fit(store, spec(3))
    manifest(store, tmp_path / "out" / "manifest.json", kept)
    make_old(store)
    found = collect(store)
    assert {str(item.path.relative_to(store.root)) for item in found.garbage} == {gone, fitted}
    assert found.referred == 1 and found.recent == 0 and found.bytes > 0
    assert left(store) == {kept, gone, fitted}  # looking removes nothing
    assert remove(found.garbage) == found.bytes
    assert left(store) == {kept} and not [path for path in store.root.rglob("*.tmp")]
    assert collect(store).garbage == []


@pytest.mark.parametrize("checkpoint", ["", "/2"])
def test_a_fit_stays_with_what_its_model_computed(store, tmp_path, checkpoint):
    fitted = fit(store, spec(1))
    scored = put(store, spec(2, model=fitted.split("/")[1] + checkpoint))
    manifest(store, tmp_path / "out" / "manifest.json", scored)
    make_old(store)
    gc(store)
    assert left(store) == {fitted, scored}


@pytest.mark.parametrize("how", ["removed", "replaced", "not ours", "parent is a file"])
def test_a_manifest_that_is_gone_no_longer_counts(store, tmp_path, how):
    one, two = put(store, spec(1)), put(store, spec(2))
    path = tmp_path / "out" / "manifest.json"
    manifest(store, path, one)
    if how == "replaced":
        manifest(store, path, two)
    elif how == "not ours":
        path.write_text('{"something": "else"}')
    else:
        shutil.rmtree(path.parent)
        if how == "parent is a file":
            path.parent.write_text("")
    make_old(store)
    found = gc(store)
    assert left(store) == ({two} if how == "replaced" else set())
    assert found.forgotten == ([] if how == "replaced" else [path])
    assert len(list(references(store.root))) == (how == "replaced")


def test_a_manifest_that_cannot_be_read_counts_as_it_was(store, tmp_path):
    one, two = put(store, spec(1)), put(store, spec(2))
    manifest(store, tmp_path / "out" / "manifest.json", one)
    (tmp_path / "out" / "manifest.json").write_text("{half")
    make_old(store)
    gc(store)
    assert left(store) == {one} and two not in left(store)


def test_a_damaged_reference_stops_gc(store, tmp_path):
    put(store, spec(1))
    manifest(store, tmp_path / "out" / "manifest.json", "rows/x")
    [file] = (store.root / "refs").iterdir()
    file.write_text(file.read_text().replace("rows/x", "rows/y"))
    make_old(store)
    with pytest.raises(Damaged, match="its checksum is another"):
        collect(store)
    assert len(left(store)) == 1


@pytest.mark.parametrize(
    ("days", "older_than", "goes"), [(3, 86_400, True), (0.5, 86_400, False), (3, 7 * 86_400, False), (0, 0, False)]
)
def test_what_was_used_lately_stays(store, days, older_than, goes):
    put(store, spec(1))
    make_old(store, days)
    found = gc(store, older_than)
    assert (left(store) == set()) == goes and found.recent == (not goes)


def test_use_is_what_counts_not_the_day_of_making(store):
    put(store, spec(1))
    fitted = fit(store, spec(2))
    make_old(store)
    other = Store(store.root)  # another process, later
    other.rows(spec(1), pa.float64()).positions(["x"])
    other.folder("fits", spec(2))
    assert collect(store).garbage == [] and other.provenance()["artifacts"] == sorted(left(store)) and fitted in left(store)


def test_what_is_used_between_looking_and_removing_stays(store):
    name = put(store, spec(1))
    make_old(store)
    found = collect(store)
    Store(store.root).rows(spec(1), pa.float64())
    assert len(found.garbage) == 1 and remove(found.garbage) == 0 and left(store) == {name}
    make_old(store)
    shutil.rmtree(store.root / name)  # another gc was faster
    assert remove(found.garbage) == 0


def test_left_over_temporary_files(store, monkeypatch):
    """Of a dead process they go after an hour, of a live one never, of another machine's after a week."""
    put(store, spec(1))
    host = curate.files._host()
    dead = next(pid for pid in range(4_000_000, 4_194_000) if not curate.files._alive(pid))
    folder = store.root / "fits"
    folder.mkdir()
    names = {
        f".x.{host}-{dead}-0123abcd.tmp": 2,
        f".y.{host}-{dead}-0123abcd.tmp": 0.5,
        f".z.{host}-{os.getpid()}-0123abcd.tmp": 2,
        f".u.00000000-{dead}-0123abcd.tmp": 100,
        f".v.00000000-{dead}-0123abcd.tmp": 200,
        ".mine.tmp": 2000,
    }
    for name, hours in names.items():
        (folder / name).mkdir()
        (folder / name / "weights").write_text("half")
        then = time.time() - hours * 3600
        os.utime(folder / name, (then, then))
    found = collect(store)
    assert sorted(item.path.name[1] for item in found.garbage) == ["v", "x"]
    remove(found.garbage)
    assert sorted(path.name[1] for path in folder.iterdir()) == ["m", "u", "y", "z"]


def test_hashes_of_model_files_that_are_gone_go(store, tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(name)
        stat = (tmp_path / name).stat()
        store.save_hash_cache({f"{tmp_path / name}|{stat.st_size}|{stat.st_mtime_ns}": name})
    (tmp_path / "a").unlink()
    assert [item.why for item in gc(store).garbage] == ["its model file is gone"]
    assert list(store.hash_cache().values()) == ["b"]


def test_a_store_that_gc_went_over_still_works(store):
    artifact = store.rows(spec(1), pa.float64())
    artifact.put(["a"], [1.0], [None])
    make_old(store)
    gc(store)
    assert artifact.positions(["a"]).tolist() == [-1]
    artifact.put(["a"], [1.0], [None])  # by a process that had opened it before
    assert artifact.get(["a"])["value"].to_pylist() == [1.0] and verify(store).damaged == []
    assert [item.spec for item in artifacts(store)] == [spec(1)]


def test_runs_keep_what_they_were_made_from(store, make_pool, tiny, tmp_path, monkeypatch):
    """Scores, a selection by a kept fit and a training, through the public functions; then gc, then again without a model."""

    def engine():
        return Engine(store=Store(store.root), refit="never")

    pool = make_pool(range(20))
    curate.score(pool, "perplexity", model=tiny, engine=engine()).write(tmp_path / "scores")
    picked = curate.select(pool, "lobass", budget=5, model=tiny, engine=engine(), recipe=QUICK)
    picked.write(tmp_path / "picked")
    grown = make_pool(range(22))
    kept = curate.select(grown, "lobass", budget=5, model=tiny, engine=engine(), recipe=QUICK)
    kept.write(tmp_path / "kept")
    curate.score(
        pool, "lobass", model=tiny, engine=engine(), recipe=QUICK.model_copy(update={"learning_rate": 2e-2})
    )  # never written
    made = json.loads((tmp_path / "kept" / "manifest.json").read_text())
    assert {name for name in made["store"]["artifacts"]} <= left(store)
    [line] = made["fits"]
    assert line["artifact"] in made["store"]["artifacts"]
    assert line["rows"] == {"fitted_on": 20, "scored": 22, "scored_and_fitted_on": 20}
    shutil.rmtree(tmp_path / "picked")
    make_old(store)
    found = gc(store)
    assert sum("fits" in item.path.parts for item in found.garbage) == 1  # of the run that wrote nothing
    assert found.forgotten == [tmp_path / "picked" / "manifest.json"]

    def refuse(*args, **keys):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("curate.models.load_model", refuse)
    again = curate.select(grown, "lobass", budget=7, model=tiny, engine=engine(), recipe=QUICK)
    assert again.frame["row_id"][:5].to_list() == kept.frame["row_id"].to_list()
    curate.score(pool, "perplexity", model=tiny, engine=engine())


def test_a_manifest_in_a_folder_that_is_still_temporary_is_known_by_its_final_name(store, tmp_path):
    from curate.files import output_folder

    name = put(store, spec(1))
    with output_folder(tmp_path / "recipe") as outer, output_folder(outer / "1-select") as inner:
        manifest(store, inner / "manifest.json", name)
    [reference] = references(store.root)
    assert reference.path == tmp_path / "recipe" / "1-select" / "manifest.json" and reference.artifacts == (name,)
    make_old(store)
    assert gc(store).garbage == []


# verify ---------------------------------------------------------------------------------------------------------------


def everything(store, tmp_path):
    """A store with a file of each kind."""
    names = [put(store, spec(1)), fit(store, spec(2)), put(store, spec(3))]
    store.make("arms", spec(4), lambda folder: (folder / "arm.json").write_text('{"tokens": 1}'))
    manifest(store, tmp_path / "out" / "manifest.json", *names)
    (tmp_path / "weights").write_text("w")
    stat = (tmp_path / "weights").stat()
    store.save_hash_cache({f"{tmp_path / 'weights'}|{stat.st_size}|{stat.st_mtime_ns}": "h"})


def test_verify_finds_a_flipped_bit_in_any_byte_of_any_file(store, tmp_path):
    everything(store, tmp_path)
    assert verify(store).damaged == [] and verify(store).artifacts == 4
    files = [path for path in sorted(store.root.rglob("*")) if path.is_file()]
    assert {path.name if path.suffix != ".arrow" else "part" for path in files if path.parent.name not in ("hashes", "refs")} == {
        "VERSION", "spec.json", "part", "checksums.json", "weights", "rows.txt", "arm.json",
    }  # fmt: skip
    for path in files:
        data = path.read_bytes()
        for position in {*range(0, len(data), 1 + len(data) // 16), len(data) - 1}:
            bit = position % 8
            path.write_bytes(data[:position] + bytes([data[position] ^ (1 << bit)]) + data[position + 1 :])
            if path.name == "VERSION":
                with pytest.raises(InputError, match="is of version"):
                    Store.existing(store.root)
                continue
            found = verify(store).damaged
            assert [error.path for error, _ in found][:1] == [path] or path.name in ("spec.json", "checksums.json"), (
                path,
                position,
            )
            assert found and all(gone in (path, *path.parents) for _, gone in found)
        path.write_bytes(data)
    assert verify(store).damaged == []


@pytest.mark.parametrize("how", ["cut", "gone", "added"])
def test_verify_finds_files_that_are_cut_gone_or_added(store, tmp_path, how):
    everything(store, tmp_path)
    for path in (*store.root.glob("fits/*/model/weights"), *store.root.glob("arms/*/arm.json")):
        data = path.read_bytes()
        other = path.with_name("other")
        if how == "cut":
            path.write_bytes(data[:-1])
        elif how == "gone":
            path.unlink()
        else:
            other.write_text("x")
        assert [error.path for error, _ in verify(store).damaged] == [other if how == "added" else path]
        other.unlink(missing_ok=True)
        path.write_bytes(data)


def test_repair_removes_what_is_damaged_and_nothing_else(store, tmp_path):
    everything(store, tmp_path)
    artifact = store.rows(spec(1), pa.float64())
    artifact.put(["new"], [9.0], [None])
    [damaged] = artifact.folder.glob("part-*-3-*")
    [weights] = store.root.glob("fits/*/model/weights")
    [reference] = (store.root / "refs").iterdir()
    for path in (damaged, weights, reference, artifact.folder / "spec.json"):
        path.write_bytes(path.read_bytes()[:-1])
    found = verify(store)
    assert len(found.damaged) == 4
    repair(found)
    assert verify(store).damaged == [] and not damaged.exists() and not list((store.root / "fits").iterdir())
    again = Store(store.root).rows(spec(1), pa.float64())
    assert again.table().to_pylist() == [{"row_id": "new", "value": 9.0, "reason": None}]
    assert json.loads((artifact.folder / "spec.json").read_text()) == spec(1)
    assert len(left(store)) == 3


def test_a_damaged_fit_is_told_on_use(store):
    fit(store, spec(1))
    [path] = store.root.glob("fits/*/rows.txt")
    path.write_text("a\nc\n")
    for use in (lambda s: s.folder("fits", spec(1)), lambda s: s.make("fits", spec(1), lambda folder: None)):
        with pytest.raises(Damaged, match=r"rows.txt is damaged .*curate store verify --repair"):
            use(Store(store.root))
    path.with_name("spec.json").write_text("{}")
    with pytest.raises(Damaged, match=r"spec.json is damaged"):
        list(store.specs("fits"))


# What people read -----------------------------------------------------------------------------------------------------


def test_listing_and_usage(store, make_pool, tiny, tmp_path):
    curate.select(make_pool(range(20)), "lobass", budget=5, model=tiny, engine=Engine(store=store), recipe=QUICK).write(
        tmp_path / "out"
    )
    found = listing(store)
    what = [line["what"] for line in found]
    assert "token ids by the tokenizer of tiny, up to 256 tokens" in what
    assert [line["artifact"].split("/")[0] for line in found] == ["rows"] * 3 + ["fits"]
    assert what[2] == "token ids by the tokenizer of tiny, up to 256 tokens"  # the first to be used is the last of its kind
    assert "mean_loss by tiny, float32" in what and "mean_loss by the fit of tiny, 1 epoch, seed 0, float32" in what
    assert "fit of tiny, 1 epoch, seed 0" in what
    assert {line["rows"] for line in found} == {20} and all(line["bytes"] > 0 and line["age"] < 600 for line in found)
    assert all(line["manifests"] == [str(tmp_path / "out" / "manifest.json")] for line in found)
    kinds = usage(store)
    assert list(kinds) == ["rows", "fits", "all"] and kinds["all"]["artifacts"] == len(found) == 4
    assert kinds["all"]["bytes"] == sum(line["bytes"] for line in found) == kinds["rows"]["bytes"] + kinds["fits"]["bytes"]
    json.dumps([found, kinds])
    text = shown(show_listing, found)
    assert "mean_loss by tiny" in text and "last used" in text and " s ago" in text
    assert "fits" in shown(show_usage, kinds, str(store.root))


def test_an_empty_store(store):
    assert listing(store) == [] and usage(store) == {"all": {"artifacts": 0, "bytes": 0}}
    assert "nothing is in the store" in shown(show_listing, [])
    assert "nothing to remove" in shown(show_collection, collect(store), None)
    assert "none damaged" in shown(show_verified, verify(store))


def test_collections_and_damage_as_text(store):
    put(store, spec(1))
    make_old(store)
    found = collect(store)
    assert "would remove" in shown(show_collection, found, None) and "o1 by mmmmmmmm" in shown(show_collection, found, None)
    assert "removed 1.2 kB" in shown(show_collection, found, 1234)
    [shard] = store.root.glob("rows/*/part-*")
    shard.write_bytes(b"")
    assert "1 damaged file; --repair removes it, and it is computed again" in shown(show_verified, verify(store))
    found = verify(store)
    repair(found)
    text = shown(show_verified, found, remaining(store))
    assert f"removed {shard}" in text and "1 damaged file removed; left is 1 artifact, " in text
    assert (remaining(store).artifacts, remaining(store).bytes) == (verify(store).artifacts, verify(store).bytes)
    assert "none damaged" in shown(show_verified, verify(store), remaining(store))


def shown(show, *given):
    console = Console(width=300, record=True, file=io.StringIO())
    show(console, *given)
    return console.export_text()


def test_amounts_and_ages():
    assert [amount(n) for n in (0, 999, 1000, 123_456, 5_400_000, 10**12)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "123 kB",
        "5.4 MB",
        "1.0 TB",
    ]
    assert [age(s) for s in (5, 119, 150, 7_300, 400_000)] == ["5 s", "119 s", "2 min", "2 h", "5 days"]


def test_the_least_time_since_use():
    assert 0 < RECENT <= 600 and Collection([], 0, 0, []).bytes == 0


def test_no_reference_without_a_store(tmp_path):
    write_manifest(tmp_path / "manifest.json", {"by": "hand"})
    assert json.loads((tmp_path / "manifest.json").read_text()) == {"by": "hand"} and Path(tmp_path, "refs").exists() is False
