"""Files of kilobytes that become gigabytes, and rows that do: refused in one sentence, before the memory is full."""

import gzip
import json
import os
import random
import resource
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.errors import InputError
from curate.pool import arrow, expansion, jsontext, read_pool, reasons

ROW = json.dumps({"question": "q", "answer": "a"}).encode() + b"\n"
MIB = 1024**2


@pytest.fixture(autouse=True)
def little_memory(monkeypatch):
    """The limits of a machine a thousand times smaller, so that the bombs are."""
    monkeypatch.setattr(expansion, "FREE_BYTES", 100_000)
    monkeypatch.setattr(arrow, "GROUP_BYTES", 8 * MIB)


def refused(path, *words, **options):
    with pytest.raises(InputError) as caught:
        read_pool(path, **options)
    said = str(caught.value)
    assert path.name in said and len(said.splitlines()) == 1 and len(said) < 400
    for word in words:
        assert word in said, said


def zstd(path, unit, times):
    with pa.CompressedOutputStream(str(path), "zstd") as out:
        for _ in range(times):
            out.write(unit)


@pytest.mark.parametrize("unit", [ROW * 100, b" " * 4000, b"\n" * 4000, b"1\n" * 2000, b'{"a":' * 800])
@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.csv"])
def test_compressed_bombs(tmp_path, unit, name):
    times = 200_000 // len(unit)
    path = tmp_path / f"{name}.gz"
    path.write_bytes(gzip.compress(unit * times))
    refused(path, "expands to more than 100 times its size", "allow more with --max-expansion")
    zstd(tmp_path / f"{name}.zst", unit, times)
    refused(tmp_path / f"{name}.zst", "expands to more than 100 times its size")


def test_what_is_allowed_is_read(tmp_path):
    zstd(tmp_path / "x.jsonl.zst", ROW * 100, 40)
    refused(tmp_path / "x.jsonl.zst", "expands to more than 100 times")
    assert read_pool(tmp_path / "x.jsonl.zst", max_expansion=1e6).report.rows_in == 4000
    (tmp_path / "plain.jsonl").write_bytes(ROW * 4000)
    assert read_pool(tmp_path / "plain.jsonl").report.rows_in == 4000


def test_what_expands_as_texts_do_is_read(tmp_path):
    """Ten times, over the bytes that are free."""
    words = random.Random(0).choices(["the", "river", "ran", "over", "a", "stone", "and", "under"], k=60_000)
    rows = "".join(
        f'{{"question": "{n}", "answer": "{" ".join(words[n * 600 : (n + 1) * 600])}"}}\n' for n in range(100)
    ).encode()
    assert len(rows) > 200_000
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(rows))
    assert len(read_pool(path)) == 100


def parquet(path, table, **options):
    pq.write_table(table, path, dictionary_pagesize_limit=64 * MIB, **options)
    return path


def test_a_text_that_all_rows_of_a_parquet_file_share(tmp_path):
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 400, pa.int32()), pa.array(["x" * MIB]))
    table = pa.table({"question": texts, "answer": ["a"] * 400})
    path = parquet(tmp_path / "x.parquet", table.cast(pa.schema({"question": texts.type, "answer": pa.string()})))
    assert path.stat().st_size < MIB
    before = pa.default_memory_pool().max_memory()
    refused(path, "expands to more than 100 times its size")
    assert pa.default_memory_pool().max_memory() - before < 64 * MIB


def test_one_row_that_shares_a_text_with_itself(tmp_path):
    turn = pa.StructArray.from_arrays(
        [pa.array(["user", "assistant"] * 2000), pa.array(["x" * 50_000] * 4000)], ["role", "content"]
    )
    path = parquet(tmp_path / "x.parquet", pa.table({"messages": pa.ListArray.from_arrays(pa.array([0, 4000]), turn)}))
    assert path.stat().st_size < MIB
    refused(path, "it has a row of 200,")


def test_a_parquet_file_of_nothing(tmp_path):
    table = pa.table({"question": pa.nulls(100_000, pa.string()), "answer": pa.nulls(100_000, pa.string())})
    refused(parquet(tmp_path / "x.parquet", table), "expands to more than 100 times its size")


def test_a_cell_that_was_compressed(tmp_path):
    table = pa.table({"question": ["x" * (8 * MIB)], "answer": ["a"]})
    refused(parquet(tmp_path / "x.parquet", table, compression="zstd"), "expands to more than 100 times its size")


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_large_row_is_rejected_and_the_others_are_read(tmp_path, kind):
    table = pa.table({"question": ["a", "b" * (reasons.MAX_ROW_BYTES + 1), "c"], "answer": ["x", "y", "z"]})
    path = tmp_path / f"x.{kind}"
    if kind == "parquet":
        pq.write_table(table, path, compression="none")
    else:
        with pa.ipc.new_file(str(path), table.schema) as out:
            out.write_table(table)
    pool = read_pool(path)
    assert sorted(pool.rows["line"].to_pylist()) == [1, 3]
    assert [(row.line, row.reason) for row in pool.report.rejected] == [(2, "too large: more than 4,194,304 bytes")]


def test_a_text_that_rows_of_an_arrow_file_share_is_no_larger_than_a_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(arrow, "BATCH_BYTES", MIB)
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 64, pa.int32()), pa.array(["x" * 100_000]))
    table = pa.table({"question": texts, "answer": [str(n) for n in range(64)]})
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), table.schema) as out:
        out.write_table(table)
    sizes = []
    real = arrow.Batch

    def watched(lines, records, raw):
        sizes.append(len(lines))
        return real(lines, records, raw)

    monkeypatch.setattr(arrow, "Batch", watched)
    assert len(read_pool(tmp_path / "x.arrow")) == 64
    assert len(sizes) > 4 and max(sizes) <= 11


def test_many_values_of_nothing_in_a_json_document(tmp_path, monkeypatch):
    monkeypatch.setattr(jsontext, "MAX_DOCUMENT_VALUES", 1000)
    path = tmp_path / "x.json"
    path.write_bytes(b"[" + b"{}," * 1000 + b"{}]")
    refused(path, "a JSON document of more than 1,000 values; put it into JSON lines")


def test_many_bad_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(reasons, "MAX_REJECTED", 100)
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"1\n" * 101)
    refused(path, "more than 100 rows cannot be used", "line 101: not an object")


def test_a_csv_row_of_many_lines_and_cells(tmp_path, monkeypatch):
    monkeypatch.setattr(reasons, "MAX_ROW_BYTES", 10_000)
    path = tmp_path / "x.csv"
    path.write_bytes(b"question,answer\nq,a\n" + b'"' + b"x\n" * 6000 + b'",b\n')
    refused(path, "line 3: a row of more than 10,000 bytes")
    path.write_bytes(b"question,answer\n" + b'"%s",' % (b"x\n" * 1000) * 9 + b"\n")
    refused(path, "line 2: a row of more than 10,000 bytes")
    path.write_bytes(b",".join(b"c%d" % n for n in range(1200)) + b"\nq\n")
    refused(path, "more than 1,000 columns")


READ = """
import resource, sys
from curate.errors import InputError
from curate.pool import read_pool
for path in sys.argv[1:]:
    try:
        print(read_pool(path).report.counts["rows_pool"])
    except InputError as error:
        print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""


def test_memory_stays_bounded(tmp_path):
    """With the true limits, in a process of its own that may not have 4 GiB: a line of 200 MB, and bombs."""
    with (tmp_path / "line.jsonl").open("wb") as out:
        out.write(ROW + b'{"question": "')
        out.truncate(200 * MIB)
    zstd(tmp_path / "space.jsonl.zst", b" " * MIB, 300)
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 400, pa.int32()), pa.array(["x" * (3 * MIB)]))
    table = pa.table({"question": texts, "answer": ["a"] * 400})
    parquet(tmp_path / "shared.parquet", table.cast(pa.schema({"question": texts.type, "answer": pa.string()})))
    files = [tmp_path / name for name in ("line.jsonl", "space.jsonl.zst", "shared.parquet")]
    limit = (4 << 30, 4 << 30)
    done = subprocess.run(
        [sys.executable, "-c", READ, *map(str, files)], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limit),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    line, space, shared, peak = done.stdout.splitlines()
    assert line == "1" and "expands to more than" in space and "expands to more than" in shared
    assert int(peak) < 1500, f"{peak} MiB"
