"""The pool: canonical conversations beside the rows as the user gave them."""

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa

from curate.errors import InputError
from curate.pool.gather import gather_table
from curate.pool.originals import Originals
from curate.pool.report import ReadReport
from curate.pool.shapes import Layout

if TYPE_CHECKING:
    import polars

Positions = Sequence[int] | np.ndarray


@dataclass(frozen=True, eq=False)
class Pool:
    """n conversations, sorted by row id; made by `read_pool`.

    rows    table of n rows: row_id (32 hex digits), source (nullable), messages (list<struct<role, content, and those
            of reasoning_content, tool_calls (JSON text), tool_call_id, name, weight that some row has>>), tools (JSON
            text, nullable), file, line (from 1).
    report  the account of the reading. A subset keeps the report of the whole.
    """

    rows: pa.Table = field(repr=False)
    report: ReadReport
    _originals: Originals = field(repr=False)
    _origins: np.ndarray = field(repr=False)  # int64 [n], positions in _originals
    _layouts: tuple[Layout, ...] = field(repr=False)
    _layout_codes: np.ndarray = field(repr=False)  # int16 [n]
    _columns: Mapping[str, str] = field(repr=False, default_factory=dict)  # canonical field -> the user's column

    def __len__(self) -> int:
        return self.rows.num_rows

    @functools.cached_property
    def row_ids(self) -> list[str]:
        """n ids, ascending."""
        return self.rows["row_id"].to_pylist()

    @functools.cached_property
    def sources(self) -> list[str | None]:
        """n names, None where a row has no source."""
        return self.rows["source"].to_pylist()

    @functools.cached_property
    def fingerprint(self) -> str:
        """32 hex digits: the hash of the sorted row ids. Equal for equal sets of conversations."""
        return hashlib.blake2b("\n".join(self.row_ids).encode(), digest_size=16).hexdigest()

    @property
    def column_names(self) -> list[str]:
        """The user's own columns, in the order in which they were met."""
        return list(self._originals.names)

    def messages(self, position: int) -> list[dict[str, Any]]:
        """The conversation at a position, null keys left out, tool calls decoded."""
        return clean_messages(self.rows["messages"][position].as_py())

    def tools(self, position: int) -> list[Any] | None:
        """The tool schemas of the conversation at a position, or None."""
        text = self.rows["tools"][position].as_py()
        return None if text is None else orjson.loads(text)

    def shape_of(self, position: int) -> str:
        """The shape that the row at a position came in: one of `curate.pool.shapes.SHAPES`."""
        return self.layout_of(position).shape

    def layout_of(self, position: int) -> Layout:
        """The shape that the row at a position came in and the user's columns that made it."""
        return self._layouts[self._layout_codes[position]]

    def column_for(self, field: str) -> str:
        """The user's column that a canonical field (system, tools, history, source, id) was looked for in."""
        return self._columns.get(field, field)

    def take(self, positions: Positions) -> "Pool":
        """The rows at these positions, sorted by row id whatever the order asked for.

        Raises InputError for a position outside the pool or given twice.
        """
        index = np.sort(self.index(positions))
        if len(index) and (index[1:] == index[:-1]).any():
            raise InputError("a position is given twice")
        rows, origins, codes = gather_table(self.rows, index), self._origins[index], self._layout_codes[index]
        return Pool(rows, self.report, self._originals, origins, self._layouts, codes, self._columns)

    def subset(self, row_ids: Sequence[str]) -> "Pool":
        """The rows with these ids, sorted by row id. Raises InputError naming an id that the pool does not have."""
        return self.take([self._position(row_id) for row_id in row_ids])

    def column(self, name: str) -> pa.ChunkedArray:
        """An original column, aligned with `rows`; null where a row has none.

        From JSON the type is inferred over all rows; a column without one type comes as JSON text. Raises InputError
        naming the columns there are.
        """
        return self._originals.table(self._origins, [name])[name]

    def originals(self, positions: Positions | None = None) -> pa.Table:
        """All original columns of the rows at these positions, in the order asked for. Raises InputError."""
        return self._originals.table(self._origins[self.index(positions)], self._originals.names)

    def records(self, positions: Positions | None = None) -> Iterator[dict[str, Any]]:
        """The rows at these positions exactly as given, in the order asked for (JSONL: the parsed line)."""
        return self._originals.records(self._origins[self.index(positions)])

    def raw(self, positions: Positions | None = None) -> Iterator[bytes]:
        """The rows at these positions as JSON objects; for JSONL the bytes of the line, white space around it gone."""
        return self._originals.raw(self._origins[self.index(positions)])

    def frame(self) -> "polars.DataFrame":
        """row_id, source and messages beside the user's other columns, for notebooks."""
        import polars

        table = self.rows.select(["row_id", "source", "messages"])
        others = [name for name in self.column_names if name not in table.column_names]
        originals = self._originals.table(self._origins, others)
        for name in others:
            table = table.append_column(name, originals[name])
        frame = polars.from_arrow(table)
        assert isinstance(frame, polars.DataFrame)
        return frame

    @functools.cached_property
    def _positions(self) -> dict[str, int]:
        return {row_id: position for position, row_id in enumerate(self.row_ids)}

    def _position(self, row_id: str) -> int:
        try:
            return self._positions[row_id]
        except KeyError:
            raise InputError(f"the pool has no row with the id '{row_id}'") from None

    def layouts(self, positions: Positions | None = None) -> set[Layout]:
        """The different layouts among the rows at these positions."""
        return {self._layouts[code] for code in np.unique(self._layout_codes[self.index(positions)])}

    def index(self, positions: Positions | None = None) -> np.ndarray:
        """Positions as int64, all of them for None. Raises InputError for one outside the pool."""
        if positions is None:
            return np.arange(len(self), dtype=np.int64)
        index = np.asarray(positions, dtype=np.int64)
        if len(index) and (index.min() < 0 or index.max() >= len(self)):
            raise InputError(f"a position is outside the pool, which has {len(self):,} rows")
        return index


def clean_messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages as they stand in `rows`, with null keys left out and tool calls decoded."""
    cleaned = []
    for message in messages:
        if len(message) > 2:
            message = {key: value for key, value in message.items() if value is not None}
            if "tool_calls" in message:
                message["tool_calls"] = orjson.loads(message["tool_calls"])
        cleaned.append(message)
    return cleaned
