"""Whatever a conversation holds survives every reader and every writer: read, written in both shapes, read again."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.pool import Pool, read_pool, write_rows

text = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12)
said = text.filter(lambda value: bool(value.strip()))
value = st.recursive(st.booleans() | st.integers(-(2**40), 2**40) | text, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text, inner, max_size=2), max_leaves=4)  # fmt: skip
arguments = st.dictionaries(said, value, max_size=3)
call = st.fixed_dictionaries(
    {"type": st.just("function"), "function": st.fixed_dictionaries({"name": said, "arguments": arguments | arguments.map(json.dumps)})},
    optional={"id": said},
)  # fmt: skip
weight = st.sampled_from([0, 0.5, 1, 3.25])
reply = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": said}, optional={"reasoning_content": said, "weight": weight}
)
calling = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": text, "tool_calls": st.lists(call, min_size=1, max_size=2)},
    optional={"reasoning_content": said, "weight": weight},
)
result = st.fixed_dictionaries({"role": st.just("tool"), "content": text}, optional={"tool_call_id": said, "name": said})
user = st.fixed_dictionaries({"role": st.just("user"), "content": said}, optional={"name": said, "weight": weight})
system = st.fixed_dictionaries({"role": st.just("system"), "content": said})
turns = st.tuples(st.lists(system, max_size=1), user, st.lists(st.tuples(calling, result), max_size=2), st.lists(st.tuples(reply, user), max_size=2), reply).map(
    lambda parts: [*parts[0], parts[1], *(turn for pair in parts[2] for turn in pair), *(turn for pair in parts[3] for turn in pair), parts[4]]
)  # fmt: skip
tool = st.fixed_dictionaries(
    {"type": st.just("function"), "function": st.fixed_dictionaries({"name": said, "parameters": arguments})}
)
row = st.fixed_dictionaries(
    {"messages": turns}, optional={"tools": st.lists(tool, min_size=1, max_size=2), "source": said, "n": st.integers(0, 9)}
)


def contents(pool: Pool) -> list[Any]:
    """What every row holds. An empty cell of a CSV is no source."""
    return [(pool.row_ids[i], pool.sources[i] or None, pool.messages(i), pool.tools(i)) for i in range(len(pool))]


def as_text(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lists as JSON text, which every table can hold."""
    return [{key: json.dumps(cell) if isinstance(cell, list) else cell for key, cell in row.items()} for row in rows]


def written(rows: list[dict[str, Any]], folder: Path) -> dict[str, Path]:
    """The same rows in every kind of file."""
    paths = {kind: folder / f"in.{kind}" for kind in ("jsonl", "json", "csv", "parquet", "arrow")}
    paths["jsonl"].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    paths["json"].write_text(json.dumps(rows), encoding="utf-8")
    flat = as_text(rows)
    names = ["messages", "tools", "source", "n"]
    with paths["csv"].open("w", newline="", encoding="utf-8") as out:
        cells = [{name: row[name] for name in names if name in row} for row in flat]
        writer = csv.DictWriter(out, names)
        writer.writeheader()
        writer.writerows(cells)
    schema = pa.schema([("messages", pa.string()), ("tools", pa.string()), ("source", pa.string()), ("n", pa.int64())])
    table = pa.Table.from_pylist(flat, schema=schema)
    pq.write_table(table, paths["parquet"])
    with pa.ipc.new_file(paths["arrow"], schema) as writer:
        writer.write_table(table)
    return paths


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(row, min_size=1, max_size=4))
def test_every_reader_and_writer_keeps_the_row_ids(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    folder = tmp_path_factory.mktemp("round")
    whole = read_pool(written(rows, folder)["jsonl"])
    assert not whole.report.rejected
    wanted = contents(whole)
    for kind, path in written(rows, folder).items():
        pool = read_pool(path)
        assert contents(pool) == wanted, kind
        for shape in ("original", "messages"):
            paths = write_rows(pool, range(len(pool)), folder / kind / shape, shape=shape)  # type: ignore[arg-type]
            for name in ("jsonl", "parquet", "messages"):
                if name in paths:
                    again = read_pool(paths[name])
                    assert contents(again) == contents(pool), (kind, shape, name)
