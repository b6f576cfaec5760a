import json
from collections.abc import Callable
from pathlib import Path

import pytest

from curate.pool import Pool, ReadReport, write_left_out

from .conftest import chat


def test_the_account_must_balance() -> None:
    with pytest.raises(AssertionError, match="read 3 rows but accounted for 2"):
        ReadReport(("a",), 3, {"messages": 2}, (), ())


def test_lists_are_written_as_json_lines(read: Callable[..., Pool], tmp_path: Path) -> None:
    pool = read([chat("q", id=1), chat("q", id=2, source="s"), "oops"])
    write_left_out(pool.report, tmp_path / "out")
    file = str(tmp_path / "data.jsonl")
    (rejected,) = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()]
    assert (rejected["file"], rejected["line"], rejected["record_text"]) == (file, 3, "oops")
    assert rejected["reason"].startswith("not JSON: ")
    (duplicate,) = [json.loads(line) for line in (tmp_path / "out" / "duplicates.jsonl").read_text().splitlines()]
    assert duplicate == {
        "row_id": pool.row_ids[0], "file": file, "line": 2, "source": "s", "id": "2", "kept_file": file, "kept_line": 1,
    }  # fmt: skip


def test_nothing_to_list_gives_empty_files(read: Callable[..., Pool], tmp_path: Path) -> None:
    write_left_out(read([chat()]).report, tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {
        "rejected.jsonl": b"", "duplicates.jsonl": b"",
    }  # fmt: skip
