"""The rows as the user gave them: JSON lines as text, everything else as Arrow tables, side by side."""

import base64
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import orjson
import pyarrow as pa

from curate.errors import InputError
from curate.pool.columns import TypedColumns
from curate.pool.gather import by_chunk, gather_table, starts_of
from curate.pool.reasons import listed

BLOCK_ROWS = 8192

Block: TypeAlias = "pa.LargeBinaryArray | pa.Table"  # JSON objects as UTF-8 text, or the table that was read


class Originals:
    """Immutable blocks of original rows, addressed by their position over all blocks."""

    def __init__(self, blocks: Sequence[Block], names: Sequence[str]) -> None:
        self.blocks = list(blocks)
        self.names = list(names)
        self._starts = starts_of(self.blocks)

    def raw(self, positions: np.ndarray) -> Iterator[bytes]:
        """Each row as one JSON object in UTF-8: the very text that was read, or an Arrow row put into JSON."""
        for block in _blocks(positions):
            texts: list[bytes] = [b""] * len(block)
            for chunk, where, rows in by_chunk(self._starts, block):
                taken = self.blocks[chunk].take(pa.array(rows))
                if isinstance(taken, pa.Table):
                    found = [orjson.dumps(row, default=_plain) for row in taken.to_pylist()]
                else:
                    found = taken.to_pylist()
                for at, text in zip(where.tolist(), found, strict=True):
                    texts[at] = text
            yield from texts

    def records(self, positions: np.ndarray) -> Iterator[dict[str, Any]]:
        """Each row as a dict: the parsed JSON line, or the Arrow row with its own types."""
        for block in _blocks(positions):
            records: list[dict[str, Any]] = [{}] * len(block)
            for chunk, where, rows in by_chunk(self._starts, block):
                taken = self.blocks[chunk].take(pa.array(rows))
                if isinstance(taken, pa.Table):
                    found = taken.to_pylist()
                else:
                    found = [orjson.loads(text) for text in taken.to_pylist()]
                for at, record in zip(where.tolist(), found, strict=True):
                    records[at] = record
            yield from records

    def values(self, positions: np.ndarray, name: str) -> Iterator[Any]:
        """One column of these rows as it was given; None where a row has none."""
        for block in _blocks(positions):
            values: list[Any] = [None] * len(block)
            for chunk, where, rows in by_chunk(self._starts, block):
                given = self.blocks[chunk]
                if not isinstance(given, pa.Table):
                    found = [orjson.loads(text).get(name) for text in given.take(pa.array(rows)).to_pylist()]
                elif name in given.column_names:
                    found = given[name].take(pa.array(rows)).to_pylist()
                else:
                    continue
                for at, value in zip(where.tolist(), found, strict=True):
                    values[at] = value
            yield from values

    def table(self, positions: np.ndarray, names: Sequence[str]) -> pa.Table:
        """The named columns of these rows, typed. Raises InputError naming the columns there are."""
        for name in names:
            if name not in self.names:
                raise InputError(f"there is no column {listed([name])}; there are: {listed(self.names)}")
        try:
            return self._arrow_table(positions, names)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, KeyError):
            pass  # not all Arrow, or not all of one type
        columns = TypedColumns(names)
        for block in _blocks(positions):
            columns.add(list(self.records(block)))
        return columns.table(lambda name: (record.get(name) for record in self.records(positions)))

    def _arrow_table(self, positions: np.ndarray, names: Sequence[str]) -> pa.Table:
        tables = []
        for block in self.blocks:
            if not isinstance(block, pa.Table):
                raise KeyError
            tables.append(block.select([name for name in names if name in block.column_names]))
        everything = pa.concat_tables(tables, promote_options="permissive").select(list(names))
        return gather_table(everything, positions)


def _blocks(positions: np.ndarray) -> Iterator[np.ndarray]:
    for at in range(0, len(positions), BLOCK_ROWS):
        yield positions[at : at + BLOCK_ROWS]


def _plain(value: object) -> object:
    """Arrow values that JSON has no word for."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)
