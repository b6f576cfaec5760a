"""Writes chosen rows as data that trainers read, in the user's own shape or as messages."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import InputError
from curate.files import atomic_file
from curate.pool.gather import gather_table
from curate.pool.pool import Pool, clean_messages
from curate.pool.trainers import axolotl_yaml, chat_entry, fits_chat, llama_factory_entry, survey, trl_script

_NAME = re.compile(r"\w[\w.-]*")
_BATCH = 4096


def write_rows(
    pool: Pool,
    positions: Sequence[int] | np.ndarray,
    folder: str | Path,
    *,
    shape: Literal["original", "messages"] = "original",
    name: str = "data",
    trainers: bool = True,
) -> dict[str, Path]:
    """Writes the rows at these positions, in this order, and what trainers need to read them.

    shape   "original": row_id beside every column of the user, the values untouched; a column of the user's own called
            row_id is left out where it agrees and kept as original_row_id where not. "messages": row_id, source,
            messages and, where there are any, tools (in Parquet as JSON text).
    name    of the data files, without their suffix.
    trainers  whether stock trainers are told of the data; without, the data files alone are written.

    Writes {name}.parquet, {name}.jsonl, dataset_info.json (LLaMA-Factory), train_trl.py and axolotl.yaml; and, where a
    trainer cannot read the user's shape, {name}.messages.jsonl for it. Gives the path of each under "parquet",
    "jsonl", "llama_factory", "trl", "axolotl" and "messages". Raises InputError for a name that is no plain file name,
    an unknown shape, and a position outside the pool.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"'{name}' cannot name a file: letters, digits, dots, dashes and underscores can")
    if shape not in ("original", "messages"):
        raise InputError(f"the shape '{shape}' is neither 'original' nor 'messages'")
    folder = Path(folder)
    index = pool.index(positions)
    paths = {"parquet": folder / f"{name}.parquet", "jsonl": folder / f"{name}.jsonl"}
    seen = survey(pool, index)
    entry, chat = chat_entry(seen), paths["jsonl"]
    described = chat
    if shape == "messages":
        _write_table(_message_table(pool, index), paths["parquet"])
        _write_lines(_message_lines(pool, index), paths["jsonl"])
    else:
        _write_original(pool, index, paths)
        own_entry = llama_factory_entry(pool, index, seen)
        if trainers and (own_entry is None or not fits_chat(seen)):
            paths["messages"] = folder / f"{name}.messages.jsonl"
            _write_lines(_message_lines(pool, index), paths["messages"])
            chat = chat if fits_chat(seen) else paths["messages"]
            described = described if own_entry else paths["messages"]
        entry = own_entry or entry
    if not trainers:
        return paths
    paths |= {
        "llama_factory": folder / "dataset_info.json",
        "trl": folder / "train_trl.py",
        "axolotl": folder / "axolotl.yaml",
    }
    _write_text(_indented({name: {"file_name": described.name, **entry}}), paths["llama_factory"])
    _write_text(trl_script(seen, chat.name), paths["trl"])
    _write_text(axolotl_yaml(seen, chat.name), paths["axolotl"])
    return paths


def _write_original(pool: Pool, index: np.ndarray, paths: dict[str, Path]) -> None:
    row_ids = pool.rows["row_id"].take(pa.array(index)).combine_chunks()
    table = pool.originals(index)
    own = None  # what to call the user's row_id: None where there is none, "" where it is the same as ours
    if "row_id" in pool.column_names:
        given = [record.get("row_id") for record in pool.records(index)]
        own = "" if given == row_ids.to_pylist() else _free_name(pool.column_names)
        at = table.column_names.index("row_id")
        table = table.rename_columns([*table.column_names[:at], own, *table.column_names[at + 1 :]]) if own else (
            table.remove_column(at)
        )  # fmt: skip
    _write_table(table.add_column(0, "row_id", row_ids), paths["parquet"])
    if own is None:
        # spliced into the user's own text, so that not one byte of it changes
        texts = zip(row_ids.to_pylist(), pool.raw(index), strict=True)
        lines = (b'{"row_id":"%s",%s\n' % (row_id.encode(), text[1:]) for row_id, text in texts)
    else:
        records = zip(row_ids.to_pylist(), pool.records(index), strict=True)
        lines = (_line(_with_row_id(record, row_id, own)) for row_id, record in records)
    _write_lines(lines, paths["jsonl"])


def _with_row_id(record: dict[str, Any], row_id: str, own: str) -> dict[str, Any]:
    rest = {(own if key == "row_id" else key): value for key, value in record.items() if own or key != "row_id"}
    return {"row_id": row_id, **rest}


def _free_name(taken: Sequence[str]) -> str:
    name = "original_row_id"
    while name in taken:
        name = f"original_{name}"
    return name


def _message_table(pool: Pool, index: np.ndarray) -> pa.Table:
    columns = ["row_id", "source", "messages"]
    tools = ["tools"] if pool.rows["tools"].null_count < len(pool) else []
    return gather_table(pool.rows.select(columns + tools), index)


def _message_lines(pool: Pool, index: np.ndarray) -> Iterator[bytes]:
    for at in range(0, len(index), _BATCH):
        for row in _message_table(pool, index[at : at + _BATCH]).to_pylist():
            row["messages"] = clean_messages(row["messages"])
            tools = row.pop("tools", None)
            if tools is not None:
                row["tools"] = orjson.loads(tools)
            yield _line(row)


def _line(value: object) -> bytes:
    return orjson.dumps(value, default=str, option=orjson.OPT_APPEND_NEWLINE)


def _indented(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _write_table(table: pa.Table, path: Path) -> None:
    with atomic_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _write_lines(lines: Iterator[bytes], path: Path) -> None:
    with atomic_file(path) as temporary, temporary.open("wb", buffering=1 << 20) as out:
        out.writelines(lines)


def _write_text(text: str, path: Path) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
