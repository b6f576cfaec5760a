"""A half-written file or folder is never seen under its final name."""

import os
from pathlib import Path

import pytest

from curate.errors import InputError
from curate.files import MARKER, atomic_file, atomic_folder, check_output, output_folder


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != MARKER)


@pytest.fixture
def ours(tmp_path):
    """An output folder that was written before."""
    with output_folder(tmp_path / "out") as folder:
        (folder / "old").write_text("1")
    return tmp_path / "out"


def test_a_file_appears_whole(tmp_path):
    with atomic_file(tmp_path / "a" / "x") as path:
        path.write_text("new")
        assert not (tmp_path / "a" / "x").exists()
    assert (tmp_path / "a" / "x").read_text() == "new" and names(tmp_path / "a") == ["x"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_file_that_fails_leaves_the_old_one(tmp_path, error):
    (tmp_path / "x").write_text("old")
    with pytest.raises(error), atomic_file(tmp_path / "x") as path:
        path.write_text("half")
        raise error
    assert (tmp_path / "x").read_text() == "old" and names(tmp_path) == ["x"]


def test_a_folder_appears_whole(tmp_path):
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "x").write_text("new")
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "out" / "deep" / "x").read_text() == "new" and names(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_folder_that_fails_leaves_nothing(tmp_path, error):
    with pytest.raises(error), atomic_folder(tmp_path / "out") as folder:
        (folder / "x").write_text("half")
        raise error
    assert names(tmp_path) == []


def test_of_two_writers_the_first_wins(tmp_path):
    with atomic_folder(tmp_path / "out") as ours:
        (ours / "x").write_text("ours")
        with atomic_folder(tmp_path / "out") as theirs:
            (theirs / "x").write_text("theirs")
    assert (tmp_path / "out" / "x").read_text() == "theirs" and names(tmp_path) == ["out"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_came_meanwhile_is_left_alone(tmp_path, overwrite):
    with (
        pytest.raises(InputError, match="results of this run lie in .*out-2"),
        output_folder(tmp_path / "out", overwrite=overwrite) as folder,
    ):
        (folder / "mine").write_text("late")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "theirs").write_text("first")
    assert names(tmp_path) == ["out", "out-2"] and (tmp_path / "out-2" / "mine").read_text() == "late"
    assert (tmp_path / "out" / "theirs").read_text() == "first"


def test_an_empty_output_folder_may_be_there(tmp_path):
    (tmp_path / "out").mkdir()
    with output_folder(tmp_path / "out") as folder:
        (folder / "x").write_text("1")
    assert names(tmp_path / "out") == ["x"]


def test_a_full_output_folder_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("1")
    with pytest.raises(InputError, match="out is not empty"), output_folder(tmp_path / "out"):
        pytest.fail("the block must not run")
    assert names(tmp_path / "out") == ["mine"]


def test_overwriting_replaces_the_folder(tmp_path, ours):
    with output_folder(ours, overwrite=True) as folder:
        (folder / "new").write_text("2")
        assert names(ours) == ["old"]
    assert names(ours) == ["new"] and names(tmp_path) == ["out"]
    check_output(ours, overwrite=True)


def test_overwriting_that_fails_leaves_the_old_folder(tmp_path, ours):
    with pytest.raises(ValueError, match="stop"), output_folder(ours, overwrite=True) as folder:
        (folder / "new").write_text("2")
        raise ValueError("stop")
    assert names(ours) == ["old"] and names(tmp_path) == ["out"]


def test_overwriting_leaves_alone_what_others_wrote(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "x").write_text("1")
    with pytest.raises(InputError, match="photos .*--overwrite"), output_folder(tmp_path / "photos", overwrite=True):
        pytest.fail("the block must not run")
    assert names(tmp_path / "photos") == ["x"]


@pytest.mark.parametrize("below", ["", "pool.jsonl", "deep/pool.jsonl", "*.jsonl"])
def test_overwriting_never_removes_an_input(tmp_path, ours, below):
    with pytest.raises(InputError, match="--overwrite would remove"):
        check_output(ours, overwrite=True, keep=[None, ours / below])
    check_output(ours, overwrite=True, keep=[tmp_path / "outside.jsonl", None])


@pytest.mark.parametrize("below, out", [(".", "."), ("deep", "..")])
def test_overwriting_never_removes_the_working_folder(ours, monkeypatch, below, out):
    (ours / "deep").mkdir()
    monkeypatch.chdir(ours / below)
    with pytest.raises(InputError, match="--overwrite would remove"):
        check_output(out, overwrite=True)


def test_a_file_is_no_output_folder(tmp_path):
    (tmp_path / "x").write_text("1")
    with pytest.raises(InputError, match="x is a file, not a folder"):
        check_output(tmp_path / "x", overwrite=True)
    with pytest.raises(InputError, match="x is a file"):
        check_output(tmp_path / "x" / "out")


def test_a_folder_without_permission_is_refused(tmp_path, monkeypatch):
    """Root may write everywhere, so the answer of the system is played."""
    asked = []

    def refuse(path, mode=0o777):
        asked.append(Path(path).parent)
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(InputError, match="locked/deep/out cannot be written: Permission denied in"):
        check_output(tmp_path / "locked" / "deep" / "out")
    assert asked == [tmp_path]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_where_nobody_may_write():
    with pytest.raises(InputError, match="/proc/x cannot be written"):
        check_output("/proc/x")


def test_checking_makes_nothing(tmp_path):
    check_output(tmp_path / "a" / "b")
    assert names(tmp_path) == []
