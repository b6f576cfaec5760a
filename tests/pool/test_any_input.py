"""Whatever a text file holds, it is read into a pool that accounts for every row, or refused in one line."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from curate.errors import InputError
from curate.pool import read_pool

KEYS = st.sampled_from(
    ["messages", "conversations", "role", "content", "from", "value", "instruction", "input", "output", "prompt", "completion",
     "question", "answer", "system", "tools", "source", "history", "weight", "tool_calls", "chosen", "rejected", "x", ""]
)  # fmt: skip
WORDS = st.sampled_from(
    ["user", "assistant", "system", "tool", "human", "gpt", "wizard", "", " \n", "yes", "[]", "[{}]", "\x00", "é"]
)
LEAVES = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | WORDS | st.text(max_size=8)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=12)
MESSAGE = st.fixed_dictionaries(
    {}, optional={"role": WORDS | LEAVES, "content": WORDS | VALUES, "weight": LEAVES, "tool_calls": VALUES}
)
GOOD = st.builds(
    lambda question, answer: {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]},
    st.sampled_from("abc"), st.sampled_from("xyz"),
)  # fmt: skip
ROWS = (
    GOOD | st.fixed_dictionaries({"messages": st.lists(MESSAGE, max_size=3)}) | st.dictionaries(KEYS, VALUES, max_size=5) | VALUES
)
LINES = st.lists(st.builds(lambda row: json.dumps(row).encode(), ROWS) | GOOD.map(lambda row: json.dumps(row).encode())
                 | st.binary(max_size=40), max_size=12)  # fmt: skip
NEWLINES = st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n \t\n"])
BOMS = st.sampled_from([b"", b"\xef\xbb\xbf"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all examples, each of which writes its file anew."""
    return tmp_path_factory.mktemp("any")


def check(path: Path, content: bytes) -> int | None:
    """Reads; the rows that came in, or None where the file was refused."""
    path.write_bytes(content)
    try:
        pool = read_pool(path)
    except InputError as error:
        assert str(error) and len(str(error).splitlines()) == 1 and str(path.name) in str(error)
        return None
    report = pool.report
    assert report.rows_in == len(pool) + len(report.rejected) + len(report.duplicates)
    places = [pool.rows["line"].to_pylist(), *([row.line for row in rows] for rows in (report.rejected, report.duplicates))]
    lines = [line for part in places for line in part]
    assert len(set(lines)) == len(lines) and min(lines) >= 1
    assert all(row.reason and len(row.reason.splitlines()) == 1 for row in report.rejected)
    for position in range(len(pool)):
        said = [message["role"] for message in pool.messages(position)]
        assert "assistant" in said
    return report.rows_in


@settings(max_examples=120, deadline=None)
@given(BOMS, LINES, NEWLINES)
@example(b"", [b"\xef\xbb\xbf", json.dumps({"messages": [{"role": "assistant", "content": "x"}]}).encode()], b"\n")
def test_json_lines(folder: Path, bom: bytes, lines: list[bytes], newline: bytes) -> None:
    content = bom + newline.join(lines)
    rows = check(folder / "any.jsonl", content)
    assert rows is None or rows == sum(bool(line.strip()) for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n"))


@settings(max_examples=150, deadline=None)
@given(BOMS, st.lists(ROWS, max_size=8), st.sampled_from(["list", "data", "one"]))
def test_json_documents(folder: Path, bom: bytes, rows: list[Any], form: str) -> None:
    document: Any = {"list": rows, "data": {"version": 1, "data": rows}, "one": rows[0] if rows else {}}[form]
    found = check(folder / "any.json", bom + json.dumps(document).encode())
    assert found is None or form == "one" or found == len(rows)


@settings(max_examples=150, deadline=None)
@given(BOMS, st.lists(KEYS, min_size=1, max_size=5), st.lists(st.lists(WORDS | st.text(max_size=8), max_size=6), max_size=8))
def test_csv(folder: Path, bom: bytes, header: list[str], rows: list[list[str]]) -> None:
    out = io.StringIO()
    csv.writer(out).writerows([header, *rows])
    check(folder / "any.csv", bom + out.getvalue().encode(errors="surrogatepass"))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["any.jsonl", "any.json", "any.csv"]), st.binary(max_size=300))
@example("any.csv", b'instruction,output\n"a')
@example("any.csv", b"instruction,output\n\x00,b\n")
@example("any.json", b"[" * 2000)
@example("any.jsonl", b'{"a":' * 2000)
def test_bytes(folder: Path, name: str, content: bytes) -> None:
    check(folder / name, content)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["any.jsonl", "any.json", "any.csv"]), st.binary(min_size=1, max_size=4), st.integers(0, 400))
def test_good_files_with_a_few_bytes_spoiled(folder: Path, name: str, bytes_: bytes, at: int) -> None:
    pairs = [(f"q{number}", f"a{number}") for number in range(6)]
    good = {
        "any.jsonl": "".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in pairs),
        "any.json": json.dumps([{"question": q, "answer": a} for q, a in pairs]),
        "any.csv": "question,answer\n" + "".join(f"{q},{a}\n" for q, a in pairs),
    }[name].encode()
    check(folder / name, good[: at % len(good)] + bytes_ + good[at % len(good) :])
