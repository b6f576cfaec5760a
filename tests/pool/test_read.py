"""The account of a reading: ids, duplicates, rejections, and that nothing is lost."""

import json
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import InputError
from curate.pool import Pool, read_pool, reasons

from .conftest import chat


def accounted(pool: Pool) -> bool:
    report = pool.report
    return report.rows_in == len(pool) + len(report.rejected) + len(report.duplicates)


def test_row_id_is_the_hash_of_the_canonical_conversation(read: Callable[..., Pool]) -> None:
    pool = read([chat("é", "b", tools=[{"name": "f"}])])
    wanted = '{"messages":[{"content":"é","role":"user"},{"content":"b","role":"assistant"}],"tools":[{"name":"f"}]}'
    assert pool.row_ids == [blake2b(wanted.encode(), digest_size=16).hexdigest()]
    body = {"messages": pool.messages(0), "tools": pool.tools(0)}
    assert orjson.dumps(body, option=orjson.OPT_SORT_KEYS).decode() == wanted


def test_ids_do_not_depend_on_other_columns_key_order_or_nulls(read: Callable[..., Pool]) -> None:
    pool = read(
        [
            '{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}',
            '{"id":"x","messages":[{"content":"q","role":"user","name":null},{"content":"a","role":"assistant"}]}',
            '{"messages":[{"role":"user","content":"q","seen":1},{"role":"assistant","content":"a"}],"tools":[]}',
        ]
    )
    assert len(pool) == 1 and len(pool.report.duplicates) == 2


def test_ids_depend_on_tools_calls_names_and_weights(read: Callable[..., Pool]) -> None:
    plain = chat("q", "a")
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    variants = [plain, {**plain, "tools": [{"name": "f"}]}]
    for extra in ({"weight": 0}, {"weight": 0.5}, {"reasoning_content": "r"}, {"tool_calls": [call]}, {"name": "n"}):
        record = chat("q", "a")
        record["messages"][1].update(extra)
        variants.append(record)
    pool = read(variants)
    assert len(pool) == len(variants)
    assert pool.rows.schema.field("messages").type.value_type == pa.struct(
        [("role", pa.string()), ("content", pa.string()), ("reasoning_content", pa.string()),
         ("tool_calls", pa.string()), ("name", pa.string()), ("weight", pa.float64())]
    )  # fmt: skip
    replies = [pool.messages(i)[1] for i in range(len(pool))]
    assert {"role": "assistant", "content": "a", "tool_calls": [call]} in replies
    assert {"role": "assistant", "content": "a", "weight": 0.5} in replies
    assert sorted(str(pool.tools(i)) for i in range(len(pool)))[-1] == "[{'name': 'f'}]"


def test_the_same_rows_from_jsonl_and_parquet_have_the_same_ids(tmp_path: Path) -> None:
    call = [{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]
    other = [{"type": "function", "function": {"name": "g", "arguments": {"y": "z"}}}]
    records = [chat("a", "b", tools=None), chat("c", "d", tools=[{"name": "f"}]), chat("e", "f"), chat("g", "h")]
    records[2]["messages"][1]["tool_calls"] = call
    records[3]["messages"][1]["tool_calls"] = other  # Parquet gives both calls x and y, one of them null
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(record) for record in records))
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "a.parquet")
    assert read_pool(tmp_path / "a.jsonl").row_ids == read_pool(tmp_path / "a.parquet").row_ids


def test_rows_are_sorted_and_know_where_they_came_from(lines: Callable[..., Path]) -> None:
    path = lines([chat(f"q{i}", "a", number=i) for i in range(50)])
    pool = read_pool(path)
    assert pool.row_ids == sorted(pool.row_ids) and len(set(pool.row_ids)) == 50
    assert pool.rows.column_names == ["row_id", "source", "messages", "tools", "file", "line"]
    assert pool.rows["file"].to_pylist() == [str(path)] * 50
    assert pool.rows["line"].to_pylist() == [number + 1 for number in pool.column("number").to_pylist()]


def test_duplicates_are_kept_once_and_listed(lines: Callable[..., Path]) -> None:
    first = lines([chat("q", "a", id="one", source="x"), chat("other")], "a.jsonl")
    second = lines([chat("new"), chat("q", "a", id=2, source="y"), chat("q", "a")], "b.jsonl")
    pool = read_pool([first, second])
    again, last = pool.report.duplicates
    assert (again.file, again.line, again.source, again.id) == (str(second), 2, "y", "2")
    assert (last.file, last.line, last.source, last.id) == (str(second), 3, None, None)
    assert {(row.kept_file, row.kept_line) for row in pool.report.duplicates} == {(str(first), 1)}
    assert again.row_id in pool.row_ids
    assert list(pool.subset([again.row_id]).records()) == [chat("q", "a", id="one", source="x")]
    assert accounted(pool)


def test_rejected_rows_have_line_reason_and_text(lines: Callable[..., Path]) -> None:
    path = lines(
        [
            chat(),
            "",
            '{"messages": [',
            "[1, 2]",
            "null",
            b'{"messages": "\xff"}',
            '{"a": ' * 100 + "1" + "}" * 100,
            "[" * 5000,
            json.dumps(chat("x", "x" * 3000)).replace("assistant", "robot"),
            '{"messages": "\\ud800"}',
            json.dumps(chat("b")),
        ]
    )
    pool = read_pool(path)
    assert [(row.line, row.reason) for row in pool.report.rejected] == [
        (3, "not JSON: unexpected end of data at character 15"),
        (4, "not an object: it is list"),
        (5, "not an object: it is NoneType"),
        (6, "not UTF-8: at byte 15"),
        (7, "too deeply nested: more than 64 levels"),
        (8, "too deeply nested: more than 64 levels"),
        (9, "unknown role: 'robot' in message 2"),
        (10, "not JSON: no low surrogate in string at character 15"),
    ]
    texts = [row.record_text for row in pool.report.rejected]
    assert texts[0] == '{"messages": [' and texts[3] == '{"messages": "\ufffd"}'
    assert all(text is not None and len(text) <= 2000 for text in texts) and len(texts[6] or "") == 2000
    assert pool.report.reasons["too deeply nested"] == 2
    assert pool.report.rows_in == 10 and accounted(pool)


def test_the_text_of_many_rejected_rows_is_not_all_kept(read: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reasons, "RECORD_TEXT_ROWS", 2)
    pool = read([chat(), "a", "b", "c"])
    assert [row.record_text for row in pool.report.rejected] == ["a", "b", None]


def test_nothing_usable_is_an_error_that_says_why(read: Callable[..., Pool]) -> None:
    with pytest.raises(InputError, match=r"none of the 2 rows can be used; the first: .*, line 1: empty reply"):
        read([chat("q", " "), "oops"])


def test_arrow_rows_that_are_rejected(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([chat("a", "b", n=1), chat("c", "", n=2), {"messages": None, "n": 3}, chat("d", n=4)])
    pq.write_table(table, tmp_path / "a.parquet")
    pool = read_pool(tmp_path / "a.parquet")
    assert [(row.line, row.reason) for row in pool.report.rejected] == [
        (2, "empty reply: message 2"),
        (3, "missing messages"),
    ]
    assert json.loads(pool.report.rejected[1].record_text or "") == {"messages": None, "n": 3}
    assert sorted(zip(pool.rows["line"].to_pylist(), pool.column("n").to_pylist(), strict=True)) == [(1, 1), (4, 4)]


def test_parquet_of_no_known_shape_names_its_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "score": [1]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="no known shape in the columns text, score"):
        read_pool(tmp_path / "a.parquet")


def test_reading_leaves_the_heavy_libraries_alone(lines: Callable[..., Path]) -> None:
    import subprocess
    import sys

    code = f"import sys; from curate.pool import read_pool; read_pool({str(lines([chat()]))!r})"
    code += "; assert not {'torch', 'transformers', 'datasets', 'polars'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
KEYS = ("messages", "conversations", "instruction", "input", "output", "prompt", "completion", "tools", "system",
        "source", "id", "row_id", "history", "a\nb", "")  # fmt: skip
turns = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["user", "assistant", "system", "tool", "x"]) | json_values,
        "content": st.text(max_size=5) | json_values,
        "from": st.sampled_from(["human", "gpt", "function_call"]) | json_values,
        "value": json_values,
        "tool_calls": json_values,
        "weight": json_values,
        "name": json_values,
    },
)
rows = st.dictionaries(st.sampled_from(KEYS), st.lists(turns, max_size=3) | json_values, max_size=5)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=40) | rows.map(lambda row: json.dumps(row).encode()), max_size=6))
def test_whatever_stands_in_a_file_is_read_rejected_or_refused(
    tmp_path_factory: pytest.TempPathFactory, texts: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    for name in ("data.jsonl", "data.json", "data.csv"):
        path = folder / name
        path.write_bytes(b"\n".join(texts))
        _check(path)


@settings(max_examples=100, deadline=None)
@given(st.lists(rows, min_size=1, max_size=4))
def test_whatever_stands_in_a_table_is_read_rejected_or_refused(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("any") / "data.arrow"
    try:
        table = pa.Table.from_pylist(records)
    except (pa.ArrowException, OverflowError):
        return  # no table can hold these
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
    _check(path)


def _check(path: Path) -> None:
    try:
        pool = read_pool(path)
    except InputError as error:
        assert "\n" not in str(error)
        return
    assert accounted(pool)
    assert len(list(pool.records())) == len(pool) == pool.originals().num_rows
    for i in range(len(pool)):
        body = {"messages": pool.messages(i), **({"tools": tools} if (tools := pool.tools(i)) else {})}
        text = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
        assert blake2b(text, digest_size=16).hexdigest() == pool.row_ids[i]


def test_real_data(real_data: Path) -> None:
    gsm8k = read_pool(real_data / "gsm8k" / "train.parquet")
    assert (gsm8k.report.rows_in, len(gsm8k)) == (7473, 7473 - len(gsm8k.report.duplicates))
    assert gsm8k.report.shapes == {"messages": len(gsm8k)} and set(gsm8k.sources) == {"gsm8k"}
    pool = read_pool(real_data / "mixed" / "pool.parquet")
    assert pool.report.rows_in == 10_000 and not pool.report.rejected and accounted(pool)
    assert len(set(pool.sources)) == 9
    with pytest.raises(InputError, match="none of the 260 rows can be used; the first: .*: no assistant message"):
        read_pool(real_data / "eval_prompts" / "test.parquet")
