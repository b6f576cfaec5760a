"""Every kind of file gives the same rows."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from curate.errors import InputError
from curate.pool import read_pool, reasons

from .conftest import chat

RECORDS = [chat(f"q{i}", f"a{i}", source=f"s{i % 2}", id=f"r{i}") for i in range(5)]
TEXT = "".join(json.dumps(record) + "\n" for record in RECORDS).encode()


def zstd(data: bytes) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as stream:
        stream.write(data)
    return bytes(out.getvalue())


def parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(RECORDS), path)


def ipc_file(path: Path) -> None:
    feather.write_feather(pa.Table.from_pylist(RECORDS), str(path))


def ipc_stream(path: Path) -> None:
    table = pa.Table.from_pylist(RECORDS)
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


def csv(path: Path) -> None:
    rows = [{**record, "messages": json.dumps(record["messages"])} for record in RECORDS]
    pa_csv.write_csv(pa.Table.from_pylist(rows), str(path))


WRITERS: dict[str, Callable[[Path], Any]] = {
    "data.jsonl": lambda path: path.write_bytes(TEXT),
    "data.ndjson": lambda path: path.write_bytes(TEXT),
    "DATA.JSONL": lambda path: path.write_bytes(TEXT),
    "data.v1.jsonl.gz": lambda path: path.write_bytes(gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:])),
    "data.jsonl.zst": lambda path: path.write_bytes(zstd(TEXT)),
    "bom.jsonl": lambda path: path.write_bytes(b"\xef\xbb\xbf" + TEXT.replace(b"\n", b"\r\n\r\n \r\n")),
    "no-newline-at-end.jsonl": lambda path: path.write_bytes(TEXT.rstrip()),
    "list.json": lambda path: path.write_text(json.dumps(RECORDS, indent=2)),
    "bom.json": lambda path: path.write_bytes(b"\xef\xbb\xbf" + json.dumps(RECORDS).encode()),
    "object.json": lambda path: path.write_text(json.dumps({"version": 1, "data": RECORDS})),
    "lines.json": lambda path: path.write_bytes(TEXT),
    "list.json.gz": lambda path: path.write_bytes(gzip.compress(json.dumps(RECORDS).encode())),
    "data.parquet": parquet,
    "data.feather": ipc_file,
    "data.arrow": ipc_stream,
    "data.csv": csv,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    WRITERS["data.jsonl"](tmp_path / "wanted.jsonl")
    WRITERS[name](tmp_path / name)
    wanted, pool = read_pool(tmp_path / "wanted.jsonl"), read_pool(tmp_path / name)
    assert pool.row_ids == wanted.row_ids and pool.fingerprint == wanted.fingerprint
    assert pool.sources == wanted.sources
    assert pool.column("id").to_pylist() == wanted.column("id").to_pylist()
    assert pool.rows["messages"].to_pylist() == wanted.rows["messages"].to_pylist()
    first, step = {"bom.jsonl": (1, 3), "data.csv": (2, 1)}.get(name, (1, 1))
    assert sorted(pool.rows["line"].to_pylist()) == [first + i * step for i in range(5)]
    if not name.endswith("csv"):  # where messages are JSON text
        assert list(pool.records()) == list(wanted.records())


def test_folder_and_glob(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "b.jsonl").write_bytes(TEXT)
    parquet(tmp_path / "in" / "deep" / "c.parquet")
    (tmp_path / "in" / "a.jsonl").write_text(json.dumps(chat("other", "row")) + "\n")
    for ignored in ("readme.txt", ".hidden.jsonl", "_SUCCESS", "dataset_info.json"):
        (tmp_path / "in" / ignored).write_text("not data")
    pool = read_pool(tmp_path / "in")
    assert [Path(file).name for file in pool.report.files] == ["a.jsonl", "b.jsonl", "c.parquet"]
    assert len(pool) == 6 and len(pool.report.duplicates) == 5
    assert read_pool(str(tmp_path / "in" / "*.jsonl")).fingerprint == pool.fingerprint
    assert read_pool([tmp_path / "in" / "a.jsonl", tmp_path / "in" / "b.jsonl"]).fingerprint == pool.fingerprint
    assert read_pool(str(tmp_path / "**" / "*.parquet")).report.rows_in == 5


def test_a_file_whose_name_looks_like_a_glob(tmp_path: Path) -> None:
    (tmp_path / "data[1].jsonl").write_bytes(TEXT)
    assert len(read_pool(tmp_path / "data[1].jsonl")) == 5


def test_limit_counts_rows_over_all_files(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(TEXT)
    parquet(tmp_path / "b.parquet")
    pool = read_pool([tmp_path / "a.jsonl", tmp_path / "b.parquet"], limit=3)
    assert (pool.report.rows_in, len(pool)) == (3, 3)
    assert len(pool.report.files) == 1
    pool = read_pool([tmp_path / "a.jsonl", tmp_path / "b.parquet"], limit=7)
    assert (pool.report.rows_in, len(pool), len(pool.report.duplicates)) == (7, 5, 2)
    with pytest.raises(InputError, match="at least 1"):
        read_pool(tmp_path / "a.jsonl", limit=0)


def test_mixed_kinds_keep_their_columns(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(chat("j", "k", score=1, tags=["x"])) + "\n")
    pq.write_table(pa.Table.from_pylist([chat("p", "q", score=2.5, when=7)]), tmp_path / "b.parquet")
    pool = read_pool(tmp_path)
    assert pool.column_names == ["messages", "score", "tags", "when"]
    by_file = {Path(file).name: i for i, file in enumerate(pool.rows["file"].to_pylist())}
    json_row, parquet_row = by_file["a.jsonl"], by_file["b.parquet"]
    scores = pool.column("score").to_pylist()
    assert (scores[json_row], scores[parquet_row]) == (1, 2.5)
    assert pool.column("when").to_pylist()[json_row] is None
    assert list(pool.records([json_row])) == [chat("j", "k", score=1, tags=["x"])]


def test_csv_is_text_and_knows_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "qa.csv"
    path.write_text('question,answer,code\n"two\nlines",4,007\nonly one cell\n"a ""b""",5,008\n\n,6,1\n')
    pool = read_pool(path)
    assert sorted(pool.rows["line"].to_pylist()) == [2, 5]
    assert sorted(pool.column("code").to_pylist()) == ["007", "008"]
    assert {pool.messages(i)[0]["content"] for i in range(2)} == {"two\nlines", 'a "b"'}
    assert {(row.line, row.reason) for row in pool.report.rejected} == {
        (4, "wrong number of columns: 1 where the header has 3"),
        (7, "no prompt: nothing stands before the first reply"),
    }
    assert pool.report.rows_in == 4


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.jsonl", b"", "no rows"),
        ("blank.jsonl", b"\n \r\n", "no rows"),
        ("empty.json", b"", "no rows"),
        ("none.json", b"[]", "no rows"),
        ("empty.csv", b"", "no rows"),
        ("head.csv", b"question,answer\n", "no rows"),
        ("bad.json", b'[{"a": 1},', "not JSON"),
        ("number.json", b"7", "a list of objects is wanted, and this is int"),
        ("two.json", b'{"a": [1], "b": [2]}', "holds 2 lists"),
        ("latin.json", b'[{"question": "\xe9"}]', "not UTF-8: at byte 16"),
        ("latin.csv", b"question,answer\n\xe9,b\n", "line 2: not UTF-8"),
        ("head.csv", b"question,\xe9\na,b\n", "the header is not UTF-8"),
        ("huge.csv", b'question,answer\n"a' + b"\nxxxxxxxxx" * 500_000, "line 2: a row of more than 4,194,304 bytes"),
        ("long.csv", b"question,answer\n" + b"x" * 5_000_000, "line 2: a row of more than 4,194,304 bytes"),
        ("twice.csv", b"question,question\na,b\n", "more than one column is called question"),
        ("cut.jsonl.gz", gzip.compress(TEXT)[:-20], "cut.jsonl.gz: "),
        ("not.jsonl.gz", TEXT, "Not a gzipped file"),
        ("not.jsonl.zst", TEXT, "not.jsonl.zst: "),
        ("not.parquet", TEXT, "not.parquet: "),
        ("empty.parquet", b"", "empty.parquet: "),
        ("not.arrow", TEXT, "not.arrow: "),
        ("empty.arrow", b"", "empty.arrow: "),
        ("note.txt", TEXT, "cannot tell the format"),
        ("data.parquet.gz", TEXT, "cannot tell the format"),
    ],
)
def test_files_that_cannot_be_read(name: str, content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as error:
        read_pool(tmp_path / name)
    assert says in str(error.value) and name in str(error.value) and "\n" not in str(error.value)


def test_paths_that_lead_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    for path, says in (
        (tmp_path / "none.jsonl", "no such file or folder"),
        (tmp_path / "sub", "holds nothing readable"),
        (str(tmp_path / "*.jsonl"), "nothing matches"),
        ("a\0b.jsonl", "no such file"),
    ):
        with pytest.raises(InputError, match=says):
            read_pool(path)
    with pytest.raises(InputError, match="no path"):
        read_pool([])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read_pool("sub/missing")  # its folder exists, so a slip of the pen and no hub name


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.jsonl"
    path.write_bytes(TEXT)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"secret.jsonl: Permission denied"):
        read_pool(path)


def test_a_line_of_any_length_takes_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reasons, "MAX_ROW_BYTES", 1000)
    path = tmp_path / "bomb.jsonl.gz"
    endless = b'{"messages": "' + b"a" * 5_000_000 + b'"}\n'
    with gzip.open(path, "wb") as out:
        out.write(TEXT + endless + json.dumps(chat("after", "it")).encode() + b"\n" + b" " * 1003)
    pool = read_pool(path)
    assert len(pool) == 6
    assert [(row.line, row.reason) for row in pool.report.rejected] == [
        (6, "too large: more than 1,000 bytes"),
        (8, "too large: more than 1,000 bytes"),
    ]
    assert pool.report.rejected[0].record_text == endless[:1002].decode()
    assert max(pool.rows["line"].to_pylist()) == 7


def test_rows_at_the_size_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reasons, "MAX_ROW_BYTES", 1000)
    frame = len(json.dumps(chat("q", "")))
    for extra, fits in ((0, True), (1, False)):
        record = chat("q", "x" * (1000 - frame + extra))
        (tmp_path / "a.jsonl").write_text(json.dumps(chat()) + "\n" + json.dumps(record) + "\r\n")
        assert len(read_pool(tmp_path / "a.jsonl")) == 1 + fits
    pq.write_table(pa.Table.from_pylist([chat(), chat("q", "x" * 1001)]), tmp_path / "a.parquet")
    (tmp_path / "a.json").write_text(json.dumps([chat(), chat("q", "x" * 1001)]))
    for name in ("a.parquet", "a.json"):
        assert read_pool(tmp_path / name).report.reasons == {"too large": 1}


@pytest.mark.parametrize("ending", [b"\r\n", b"\n", b"\r\r\n", b"\r\rx\n"])
def test_lines_about_the_limit_keep_their_numbers(ending: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reasons, "MAX_ROW_BYTES", 200)
    path = tmp_path / "a.jsonl"
    frame = len(json.dumps(chat("q", "")))
    for length in range(196, 204):
        text = json.dumps(chat("q", "x" * (length - frame))).encode()
        path.write_bytes(text + ending + json.dumps(chat("after")).encode())
        pool = read_pool(path)
        places = pool.rows["line"].to_pylist() + [row.line for row in pool.report.rejected]
        assert sorted(places) == [1, 2]
        if ending in (b"\r\n", b"\n"):
            assert (len(pool) == 2) == (length <= 200)


def test_wide_data_is_refused_not_swallowed(lines: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reasons, "MAX_COLUMNS", 10)
    with pytest.raises(InputError, match="line 10: more than 10 different columns"):
        read_pool(lines([chat(f"q{i}", "a", **{f"key{i}": i}) for i in range(20)]))


def test_arrow_text_that_is_not_utf8_is_rejected(tmp_path: Path) -> None:
    texts = pa.array([b"q0", b"\xff\xfe", b"q2"], pa.binary())
    questions = pa.Array.from_buffers(pa.string(), 3, texts.buffers())
    pq.write_table(pa.table({"question": questions, "answer": ["a", "b", "c"]}), tmp_path / "a.parquet")
    pool = read_pool(tmp_path / "a.parquet")
    assert [(row.line, row.reason) for row in pool.report.rejected] == [(2, "not UTF-8")]
    assert sorted(pool.rows["line"].to_pylist()) == [1, 3]


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    table = pa.table([pa.array(["q"]), pa.array(["a"]), pa.array(["b"])], names=["question", "answer", "answer"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match="more than one column is called answer"):
        read_pool(tmp_path / "a.parquet")


def test_large_types_and_dictionaries(tmp_path: Path) -> None:
    turn = pa.struct([("role", pa.dictionary(pa.int32(), pa.string())), ("content", pa.large_string())])
    turns = [[{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]]
    table = pa.table({"talk": pa.array(turns, pa.large_list(turn))})
    with pa.ipc.new_file(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    (tmp_path / "b.jsonl").write_text(json.dumps(chat()) + "\n")
    assert read_pool(tmp_path / "a.arrow").row_ids == read_pool(tmp_path / "b.jsonl").row_ids
