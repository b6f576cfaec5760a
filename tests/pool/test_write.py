import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from curate.errors import InputError
from curate.pool import Pool, read_pool, write_rows

from .conftest import chat

CALL = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
WITH_TOOLS = {
    "messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "3"},
        {"role": "assistant", "content": "a", "weight": 0.5},
    ],
    "tools": [TOOL],
}


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def entry(paths: dict[str, Path]) -> dict[str, Any]:
    (found,) = json.loads(paths["llama_factory"].read_text()).values()
    return found


def test_originals_are_written_byte_for_byte(read: Callable[..., Pool], tmp_path: Path) -> None:
    texts = [
        '{"score": 1.50e3, "messages": [{"role":"user","content":"q0"},{"role":"assistant","content":"\\u00e9"}]}',
        '{ "id": 12345678901234567, "messages":[{"role":"user","content":"q1"}, {"role":"assistant","content":"a","seen":null}]}',
        '{"messages": [{"role": "user", "content": "q2"}, {"role": "assistant", "content": "\U0001f600"}], "e": 1}',
    ]
    pool = read(texts)
    paths = write_rows(pool, [2, 0, 1], tmp_path / "out")
    written = paths["jsonl"].read_text(encoding="utf-8").splitlines()
    places = [pool.rows["line"][i].as_py() - 1 for i in (2, 0, 1)]
    wanted = [f'{{"row_id":"{pool.row_ids[i]}",' + texts[p][1:] for i, p in zip((2, 0, 1), places, strict=True)]
    assert written == wanted
    assert lines_of(paths["jsonl"]) == [
        {"row_id": pool.row_ids[i], **record} for i, record in zip((2, 0, 1), pool.records([2, 0, 1]), strict=True)
    ]


def test_parquet_has_row_id_beside_every_column(tmp_path: Path) -> None:
    table = pa.table({"question": ["a", "b", "c"], "answer": ["x", "y", "z"], "n": pa.array([1, 2, 3], pa.int8())})
    pq.write_table(table, tmp_path / "in.parquet")
    pool = read_pool(tmp_path / "in.parquet")
    paths = write_rows(pool, [1, 2], tmp_path / "out", name="picked")
    written = pq.read_table(paths["parquet"])
    assert paths["parquet"].name == "picked.parquet"
    assert written.column_names == ["row_id", "question", "answer", "n"] and written.schema.field("n").type == pa.int8()
    assert written["row_id"].to_pylist() == [pool.row_ids[1], pool.row_ids[2]]
    assert written.drop(["row_id"]).to_pylist() == list(pool.records([1, 2]))
    assert lines_of(paths["jsonl"]) == written.to_pylist()


@pytest.mark.parametrize("shape", ["original", "messages"])
def test_what_is_written_reads_back_as_the_same_pool(shape: Any, read: Callable[..., Pool], tmp_path: Path) -> None:
    records = [chat("a", "b", source="s"), WITH_TOOLS, chat("c", "d", system="be brief")]
    pool = read(records)
    paths = write_rows(pool, range(3), tmp_path / "out", shape=shape)
    for kind in ("jsonl", "parquet"):
        again = read_pool(paths[kind])
        assert again.row_ids == pool.row_ids and again.sources == pool.sources
        assert [again.messages(i) for i in range(3)] == [pool.messages(i) for i in range(3)]
        assert [again.tools(i) for i in range(3)] == [pool.tools(i) for i in range(3)]


def test_messages_shape(read: Callable[..., Pool], tmp_path: Path) -> None:
    pool = read([{"instruction": "q", "output": "a", "extra": 1}, {"question": "r", "answer": "b", "source": "s"}])
    paths = write_rows(pool, [1, 0], tmp_path / "out", shape="messages")
    assert "messages" not in paths
    rows = lines_of(paths["jsonl"])
    assert [set(row) for row in rows] == [{"row_id", "source", "messages"}] * 2
    assert [row["messages"] for row in rows] == [pool.messages(1), pool.messages(0)]
    assert pq.read_table(paths["parquet"]).column_names == ["row_id", "source", "messages"]


def test_a_row_id_of_the_users_own(read: Callable[..., Pool], tmp_path: Path) -> None:
    first = read([chat("q"), chat("r")])
    written = read_pool(write_rows(first, [0, 1], tmp_path / "one")["jsonl"])
    again = write_rows(written, [0, 1], tmp_path / "two")
    assert lines_of(again["jsonl"]) == lines_of(tmp_path / "one" / "data.jsonl")
    assert pq.read_table(again["parquet"]).column_names == ["row_id", "messages"]

    other = read([chat("q", row_id="mine", original_row_id=0), chat("r")])
    paths = write_rows(other, [0, 1], tmp_path / "three")
    table = pq.read_table(paths["parquet"])
    assert table.column_names == ["row_id", "messages", "original_original_row_id", "original_row_id"]
    by_id = {row["row_id"]: row for row in lines_of(paths["jsonl"])}
    assert set(by_id) == set(other.row_ids)
    assert sorted(row.get("original_original_row_id", "") for row in by_id.values()) == ["", "mine"]


def test_nothing_chosen_gives_empty_files(read: Callable[..., Pool], tmp_path: Path) -> None:
    for shape in ("original", "messages"):
        paths = write_rows(read([chat()]), [], tmp_path / shape, shape=shape)  # type: ignore[arg-type]
        assert paths["jsonl"].read_bytes() == b"" and pq.read_table(paths["parquet"]).num_rows == 0


def test_names_cannot_leave_the_folder(read: Callable[..., Pool], tmp_path: Path) -> None:
    pool = read([chat()])
    for name in ("../data", "a/b", "", ".hidden", "/etc/x", "a\n"):
        with pytest.raises(InputError, match="cannot name a file"):
            write_rows(pool, [0], tmp_path, name=name)
    with pytest.raises(InputError, match="neither 'original' nor 'messages'"):
        write_rows(pool, [0], tmp_path, shape="alpaca")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="outside the pool"):
        write_rows(pool, [1], tmp_path)


OPENAI_TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
               "system_tag": "system"}  # fmt: skip
SHAREGPT = {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "system": "s"}


@pytest.mark.parametrize(
    ("records", "columns", "wanted", "chat_file"),
    [
        ([chat()], None,
         {"file_name": "data.jsonl", "formatting": "sharegpt", "columns": {"messages": "messages"},
          "tags": OPENAI_TAGS}, "data.jsonl"),
        ([{"talk": chat()["messages"]}], None,
         {"file_name": "data.jsonl", "formatting": "sharegpt", "columns": {"messages": "talk"}, "tags": OPENAI_TAGS},
         "data.messages.jsonl"),
        ([WITH_TOOLS], None,
         {"file_name": "data.jsonl", "formatting": "openai", "columns": {"messages": "messages", "tools": "tools"},
          "tags": OPENAI_TAGS | {"observation_tag": "tool"}}, "data.jsonl"),
        ([SHAREGPT], None,
         {"file_name": "data.jsonl", "formatting": "sharegpt",
          "columns": {"messages": "conversations", "system": "system"},
          "tags": {"role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt"}},
         "data.messages.jsonl"),
        ([{"instruction": "q", "input": "i", "output": "a", "history": [["h", "j"]]}], None,
         {"file_name": "data.jsonl", "formatting": "alpaca",
          "columns": {"prompt": "instruction", "query": "input", "response": "output", "history": "history"}},
         "data.messages.jsonl"),
        ([{"ask": "q", "reply": "a", "frame": "s"}], {"prompt": "ask", "completion": "reply", "system": "frame"},
         {"file_name": "data.jsonl", "formatting": "alpaca",
          "columns": {"prompt": "ask", "response": "reply", "system": "frame"}}, "data.messages.jsonl"),
        ([{"question": "q", "answer": "a"}], None,
         {"file_name": "data.jsonl", "formatting": "alpaca", "columns": {"prompt": "question", "response": "answer"}},
         "data.messages.jsonl"),
        # what LLaMA-Factory cannot read as it stands: it gets the messages
        ([{"prompt": [{"role": "user", "content": "q"}], "completion": "a"}], None,
         {"file_name": "data.messages.jsonl", "formatting": "sharegpt", "columns": {"messages": "messages"},
          "tags": OPENAI_TAGS}, "data.messages.jsonl"),
        ([chat(), {"question": "q", "answer": "a"}], None,
         {"file_name": "data.messages.jsonl", "formatting": "sharegpt", "columns": {"messages": "messages"},
          "tags": OPENAI_TAGS}, "data.messages.jsonl"),
        ([chat(system="not in the messages")], None,
         {"file_name": "data.messages.jsonl", "formatting": "sharegpt", "columns": {"messages": "messages"},
          "tags": OPENAI_TAGS}, "data.messages.jsonl"),
        ([SHAREGPT, {"conversations": [{"from": "user", "value": "r"}, {"from": "gpt", "value": "b"}]}], None,
         {"file_name": "data.messages.jsonl", "formatting": "sharegpt", "columns": {"messages": "messages"},
          "tags": OPENAI_TAGS}, "data.messages.jsonl"),
    ],
)  # fmt: skip
def test_trainers_are_told_what_is_there(
    records: list[Any], columns: Any, wanted: Any, chat_file: str, read: Callable[..., Pool], tmp_path: Path
) -> None:
    pool = read(records, columns=columns)
    paths = write_rows(pool, range(len(pool)), tmp_path / "out")
    assert entry(paths) == wanted
    config = yaml.safe_load(paths["axolotl"].read_text())
    assert config["datasets"][0]["path"] == chat_file
    assert f'"{chat_file}"' in paths["trl"].read_text()
    assert ("messages" in paths) == ("data.messages.jsonl" in (chat_file, wanted["file_name"]))
    for row in lines_of(paths["llama_factory"].parent / chat_file):
        assert row["messages"] == pool.messages(pool.row_ids.index(row["row_id"]))


def test_the_script_for_trl(read: Callable[..., Pool], tmp_path: Path) -> None:
    single = read([chat("a"), chat("b")])
    multi = read([{"messages": chat()["messages"] * 2}])
    for pool, masked in ((single, False), (multi, True)):
        script = write_rows(pool, [0], tmp_path / str(masked))["trl"].read_text()
        ast.parse(script)
        assert ("assistant_only_loss=True" in script) is masked
        assert ('"completion": row["messages"][-1:]' in script) is not masked


def test_real_data(real_data: Path, tmp_path: Path) -> None:
    pool = read_pool(real_data / "mixed" / "pool.parquet", limit=2000)
    positions = list(range(0, len(pool), 7))[::-1]
    paths = write_rows(pool, positions, tmp_path)
    assert [row["row_id"] for row in lines_of(paths["jsonl"])] == [pool.row_ids[i] for i in positions]
    again = read_pool(paths["parquet"])
    assert again.fingerprint == pool.take(positions).fingerprint
    assert set(again.column_names) == {"row_id", *pool.column_names}
