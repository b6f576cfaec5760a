"""Rows in memory are read as the same rows in a file are."""

import json

import datasets
import polars as pl
import pyarrow as pa
import pytest

import curate
from curate.errors import InputError
from curate.preparation import as_pool

ROWS = [
    {"messages": [{"role": "user", "content": f"q{number}"}, {"role": "assistant", "content": f"a{number}"}], "n": number}
    for number in (3, 1, 2)
]


@pytest.fixture
def from_file(tmp_path):
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    return curate.read_pool(tmp_path / "rows.jsonl")


@pytest.mark.parametrize(
    "made",
    [list, tuple, pl.DataFrame, pa.Table.from_pylist, datasets.Dataset.from_list, lambda rows: pl.DataFrame(rows).to_pandas()],
    ids=["list", "tuple", "polars", "pyarrow", "datasets", "pandas"],
)
def test_rows_in_memory_are_those_of_a_file(made, from_file):
    rows = made(ROWS)
    for pool in (curate.read_pool(rows), as_pool(rows)):
        assert pool.row_ids == from_file.row_ids and pool.fingerprint == from_file.fingerprint
        assert sorted(pool.column("n").to_pylist()) == [1, 2, 3] and pool.report.rows_in == 3
        assert [pool.messages(i) for i in range(3)] == [from_file.messages(i) for i in range(3)]
    assert len(curate.read_pool(rows, limit=2)) == 2


def test_an_alpaca_frame_with_a_mapping():
    frame = pl.DataFrame({"ask": ["a", "b"], "say": ["x", "y"]})
    pool = curate.read_pool(frame, columns={"prompt": "ask", "completion": "say"})
    assert sorted(pool.messages(i)[1]["content"] for i in range(2)) == ["x", "y"]
    assert curate.read_pool([{"instruction": "a", "output": "b"}, {"messages": "?"}]).report.rejected[0].line == 2


@pytest.mark.parametrize(
    "given, words",
    [
        (3, "not as int"),
        ([1, 2], "not as list"),
        ({"a": [1]}, "not as dict|of a; name one"),
        (datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}), "DatasetDict of train; name one of them"),
        ([{"messages": object()}], "not JSON serializable"),
        (pl.DataFrame({"a": [1]}), "no known shape in the columns a"),
        ([], "no path was given"),
        (pl.DataFrame({"messages": []}), "no rows"),
    ],
)
def test_what_holds_no_rows_is_refused_in_a_sentence(given, words):
    with pytest.raises(InputError, match=words) as caught:
        curate.read_pool(given)
    assert len(str(caught.value).splitlines()) == 1


def test_a_selection_gives_its_rows_back(tmp_path):
    engine = curate.Engine(store=curate.Store(tmp_path))
    picks = curate.select(ROWS * 2, "longest", budget=2, engine=engine)
    assert picks.data["row_id"].to_list() == picks.frame["row_id"].to_list() and set(picks.data.columns) >= {"messages", "n"}
    found = picks.to_dataset()
    assert found.column_names == ["messages", "n"] and found["n"][:] == picks.data["n"].to_list()
    assert found[0]["messages"] == picks.data["messages"][0].to_list()
