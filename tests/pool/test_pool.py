import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.errors import InputError
from curate.pool import Pool, read_pool

from .conftest import chat


@pytest.fixture
def pool(read: Callable[..., Pool]) -> Pool:
    return read([chat(f"q{i}", f"a{i}", source="even" if i % 2 == 0 else None, n=i) for i in range(10)])


def test_take_keeps_rows_sorted_and_columns_aligned(pool: Pool) -> None:
    some = pool.take(np.array([7, 2, 5]))
    assert some.row_ids == [pool.row_ids[i] for i in (2, 5, 7)]
    assert some.column("n").to_pylist() == [pool.column("n").to_pylist()[i] for i in (2, 5, 7)]
    assert [record["n"] for record in some.records()] == some.column("n").to_pylist()
    assert some.messages(1) == pool.messages(5) and some.sources[1] == pool.sources[5]
    assert some.take([0]).row_ids == [pool.row_ids[2]]
    assert some.report is pool.report
    assert len(pool.take([])) == 0 and pool.take([]).column("n").to_pylist() == []


def test_take_refuses_what_is_not_there(pool: Pool) -> None:
    for positions, says in (([10], "outside the pool, which has 10 rows"), ([-1], "outside"), ([1, 1], "given twice")):
        with pytest.raises(InputError, match=says):
            pool.take(positions)


def test_subset_by_id(pool: Pool) -> None:
    wanted = [pool.row_ids[8], pool.row_ids[3]]
    assert pool.subset(wanted).row_ids == sorted(wanted)
    with pytest.raises(InputError, match="no row with the id 'nowhere'"):
        pool.subset(["nowhere"])


def test_fingerprint_is_of_the_set_of_conversations(pool: Pool, read: Callable[..., Pool]) -> None:
    again = read([chat(f"q{i}", f"a{i}", other=i) for i in reversed(range(10))])
    assert pool.fingerprint == again.fingerprint and len(pool.fingerprint) == 32
    assert pool.fingerprint != pool.take(range(9)).fingerprint


def test_a_column_that_is_not_there_names_those_that_are(pool: Pool) -> None:
    with pytest.raises(InputError, match="no column m; there are: messages, source, n"):
        pool.column("m")


def test_records_come_in_the_order_asked_for_and_may_repeat(pool: Pool) -> None:
    numbers = pool.column("n").to_pylist()
    assert [record["n"] for record in pool.records([4, 1, 4])] == [numbers[4], numbers[1], numbers[4]]
    assert pool.originals([4, 1]).column("n").to_pylist() == [numbers[4], numbers[1]]


def test_frame(pool: Pool) -> None:
    frame = pool.frame()
    assert isinstance(frame, polars.DataFrame)
    assert frame.columns == ["row_id", "source", "messages", "n"]
    assert frame["n"].to_list() == pool.column("n").to_pylist()


def test_columns_are_typed_over_all_rows(read: Callable[..., Pool]) -> None:
    values = {
        "whole": [1, 2, None],
        "number": [1, 2.5, 3],
        "flag": [True, False, True],
        "text": ["a", "b", None],
        "list": [[1], [], [2, 3]],
        "object": [{"x": 1}, {"y": "z"}, {}],
        "mixed": [1, "one", [1]],
        "hollow": [{}, {}, {}],
        "nothing": [None, None, None],
        "huge": [2**63, 1, 2],
    }
    pool = read([chat(f"q{i}", **{name: value[i] for name, value in values.items()}) for i in range(3)])
    order = [line - 1 for line in pool.rows["line"].to_pylist()]
    types = {name: pool.column(name).type for name in values}
    assert types["whole"] == pa.int64() and types["number"] == pa.float64() and types["flag"] == pa.bool_()
    assert types["text"] == pa.string() and types["list"] == pa.list_(pa.int64()) and types["nothing"] == pa.null()
    assert {(field.name, field.type) for field in types["object"]} == {("x", pa.int64()), ("y", pa.string())}
    assert types["mixed"] == types["hollow"] == pa.string()
    assert [pool.column("mixed").to_pylist()[order.index(i)] for i in range(3)] == ["1", '"one"', "[1]"]
    assert [pool.column("number").to_pylist()[order.index(i)] for i in range(3)] == [1, 2.5, 3]


def test_blocks_that_disagree_on_a_type(read: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curate.pool.originals.BLOCK_ROWS", 2)
    records = [chat(f"q{i}", n=(i if i < 4 else i + 0.5), m=(i if i < 4 else str(i)), o={f"k{i}": 1}) for i in range(8)]
    pool = read(records)
    given = {record["messages"][0]["content"]: record for record in records}
    wanted = [given[pool.messages(i)[0]["content"]] for i in range(8)]
    assert pool.column("n").type == pa.float64()
    assert pool.column("n").to_pylist() == [record["n"] for record in wanted]
    assert pool.column("m").type == pa.string()
    texts = [str(record["m"]) if isinstance(record["m"], int) else f'"{record["m"]}"' for record in wanted]
    assert pool.column("m").to_pylist() == texts
    found = [{key: value for key, value in row.items() if value} for row in pool.column("o").to_pylist()]
    assert found == [record["o"] for record in wanted]


def test_arrow_types_survive(tmp_path: Path) -> None:
    table = pa.table(
        {
            "question": ["a", "b", "c"],
            "answer": ["x", "y", "z"],
            "score": pa.array([1, 2, 3], pa.float32()),
            "when": pa.array([1, 2, 3], pa.timestamp("ms")),
            "blob": pa.array([b"\x00", b"\xff", None], pa.binary()),
            "instant": pa.array([1, 2, 1_000_000_001], pa.timestamp("ns", "UTC")),
            "kind": pa.array(["k", "l", "k"]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    pool = read_pool(tmp_path / "a.parquet")
    assert pool.originals().schema.field("score").type == pa.float32()
    assert pool.originals().schema.field("when").type == pa.timestamp("ms")
    order = [line - 1 for line in pool.rows["line"].to_pylist()]
    assert pool.originals().to_pylist() == [table.to_pylist()[i] for i in order]
    assert len([json.loads(text) for text in pool.raw()]) == 3


def test_messages_without_extras_stay_bare(pool: Pool) -> None:
    assert pool.messages(0)[0].keys() == {"role", "content"}
    assert pool.tools(0) is None
    assert "10" not in repr(pool.rows["line"].type) and len(repr(pool)) < 500


def test_where_rows_come_from(tmp_path):
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    one.write_text('{"prompt": "a", "completion": "b", "id": 7}\n{bad\n{"prompt": "c", "completion": "d", "id": "x"}\n')
    two.write_text('{"prompt": "e", "completion": "f"}\n')
    pool = read_pool([one, two])
    found = dict(zip((pool.messages(i)[0]["content"] for i in range(3)), pool.places().rows(), strict=True))
    assert found == {"a": (str(one), 1, "7"), "c": (str(one), 3, "x"), "e": (str(two), 1, None)}
    assert read_pool(two).places().columns == ["file", "line"]
    mapped = read_pool(one, columns={"id": "prompt"}).places()
    assert set(mapped["id"]) == {"a", "c"}


def test_a_pool_in_short(tmp_path):
    path = tmp_path / "one.jsonl"
    path.write_text("".join(f'{{"prompt": "{i}", "completion": "b", "source": "s{i % 8}"}}\n' for i in range(1200)))
    assert repr(read_pool(path)) == (
        f"Pool(1,200 rows from {path}; sources s0, s1, s2, s3, s4 and 3 more; columns prompt, completion, source)"
    )
    path.write_text('{"prompt": "a", "completion": "b"}\n')
    assert repr(read_pool(path)) == f"Pool(1 row from {path}; columns prompt, completion)"


def test_conversations_are_the_messages_and_tools_one_by_one(tmp_path):
    tools = [{"type": "function", "function": {"name": "add"}}]
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add", "arguments": {"x": 1}}}]}
    rows = [{"messages": [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": "a"}]} for i in range(5)]
    rows.append({"messages": [{"role": "user", "content": "sum"}, call], "tools": tools})
    file = tmp_path / "pool.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    pool = read_pool(file)
    asked = [5, 0, 3, 3]
    assert list(pool.conversations(asked)) == [(pool.messages(i), pool.tools(i)) for i in asked]
    assert [tools for _, tools in pool.conversations()].count(None) == 5
