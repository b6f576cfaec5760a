"""The pool: canonical conversations beside the rows as the user gave them."""

import functools
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa

from curate.errors import InputError
from curate.pool.gather import gather_table
from curate.pool.labels import TokenLabels
from curate.pool.origin import Origin
from curate.pool.originals import Originals
from curate.pool.reasons import listed
from curate.pool.report import ReadReport
from curate.pool.shapes import Layout
from curate.wording import counted

if TYPE_CHECKING:
    import polars

Positions = Sequence[int] | np.ndarray
ID_DIGITS = 32  # of a row id, hex
_BLOCK = 4096  # rows that are Python objects at once


@dataclass(frozen=True, eq=False, repr=False)
class Pool:
    """n conversations, sorted by row id; made by `read_pool`.

    rows    table of n rows: row_id (32 hex digits), source (nullable), messages (list<struct<role, content, and those
            of reasoning_content, tool_calls (JSON text), tool_call_id, name, weight that some row has>>), tools (JSON
            text, nullable), file, line (from 1).
    labels  which tokens of which rows count in training, where tokens were chosen; None: all of every reply.
    policy  settings of the trainer by which it chooses tokens as it learns, where the rows were selected for that.
    report  the account of the reading. A subset keeps the report of the whole.
    origin  how to read it again; None for rows that were given in memory, for a part, and for what was changed since.
    """

    rows: pa.Table
    report: ReadReport
    _originals: Originals
    _origins: np.ndarray  # int64 [n], positions in _originals
    _layouts: tuple[Layout, ...]
    _layout_codes: np.ndarray  # int16 [n]
    _columns: Mapping[str, str] = field(default_factory=dict)  # canonical field -> the user's column
    _repeats: np.ndarray | None = None  # int64 [n]; None: every row once
    labels: TokenLabels | None = None
    policy: Mapping[str, Any] | None = None
    origin: Origin | None = None

    def __len__(self) -> int:
        return self.rows.num_rows

    def __repr__(self) -> str:
        named = sorted(name for name in self.rows["source"].unique().to_pylist() if name is not None)
        sources = f"; sources {_some(named)}" if named else ""
        return f"Pool({counted(len(self))} from {_some(self.report.files)}{sources}; columns {_some(self.column_names, 12)})"

    def _repr_html_(self) -> str:
        from curate.html import pool_html

        return pool_html(self)

    @functools.cached_property
    def row_ids(self) -> list[str]:
        """n ids, ascending."""
        return self.rows["row_id"].to_pylist()

    @functools.cached_property
    def sources(self) -> list[str | None]:
        """n names, None where a row has no source."""
        names = self.rows["source"].combine_chunks().dictionary_encode()
        known = [*names.dictionary.to_pylist(), None]  # one string for all rows of a source
        return [known[code] for code in names.indices.fill_null(len(known) - 1).to_pylist()]

    @functools.cached_property
    def fingerprint(self) -> str:
        """32 hex digits: the hash of the sorted row ids. Equal for equal sets of conversations."""
        lines = np.full((len(self), ID_DIGITS + 1), ord("\n"), dtype=np.uint8)
        lines[:, :-1] = self._ids.view(np.uint8).reshape(-1, ID_DIGITS)
        return hashlib.blake2b(lines.tobytes()[:-1], digest_size=16).hexdigest()

    @property
    def shapes(self) -> dict[str, int]:
        """Rows by the shape that they came in."""
        return shapes_of(self._layouts, self._layout_codes)

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

    def conversations(self, positions: Positions | None = None) -> Iterator[tuple[list[dict[str, Any]], list[Any] | None]]:
        """`messages` and `tools` of the rows at these positions, in the order asked for: much faster than one by one."""
        index = self.index(positions)
        for start in range(0, len(index), _BLOCK):
            table = gather_table(self.rows.select(["messages", "tools"]), index[start : start + _BLOCK])
            for messages, tools in zip(table["messages"].to_pylist(), table["tools"].to_pylist(), strict=True):
                yield clean_messages(messages), None if tools is None else orjson.loads(tools)

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
        repeats = None if self._repeats is None else self._repeats[index]
        labels = self.labels.of(rows["row_id"].to_pylist()) if self.labels else None
        kept = self.origin if len(index) == len(self) else None
        return replace(self, labels=labels, rows=rows, _origins=origins, _layout_codes=codes, _repeats=repeats, origin=kept)

    @property
    def repeats(self) -> np.ndarray:
        """int64 [n]: how many times each row is written and trained on."""
        return np.ones(len(self), dtype=np.int64) if self._repeats is None else self._repeats

    def repeated(self, positions: Positions | None = None) -> np.ndarray:
        """int64: these positions, in the order given, each as many times as it is written and trained on."""
        index = self.index(positions)
        return np.repeat(index, self.repeats[index])

    def with_repeats(self, repeats: np.ndarray) -> "Pool":
        """The same rows, to be written and trained on this many times each. `repeats`: int64 [n], at least 1."""
        if repeats.shape != (len(self),) or (repeats < 1).any():
            raise ValueError("repeats must be one number for each row, at least 1")
        return replace(self, _repeats=None if (repeats == 1).all() else repeats, origin=None)

    def with_labels(self, labels: TokenLabels | None) -> "Pool":
        """The same rows, of which only these tokens count in training; of rows that are not among them all do."""
        return replace(self, labels=labels, origin=None)

    def with_policy(self, policy: Mapping[str, Any] | None) -> "Pool":
        """The same rows, of whose tokens a trainer chooses by these settings; None: by none."""
        return replace(self, policy=policy, origin=None)

    def subset(self, row_ids: Sequence[str]) -> "Pool":
        """The rows with these ids, sorted by row id. Raises InputError naming an id that the pool does not have."""
        return self.take(self.positions(row_ids))

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

    def places(self) -> "polars.DataFrame":
        """Where each row was read: file, line (from 1) and, where the user's rows have one, id as text."""
        import polars

        frame = polars.DataFrame({name: self.rows[name] for name in ("file", "line")})
        column = self.column_for("id")
        if column not in self.column_names:
            return frame
        ids = [as_text(value) for value in self._originals.values(self._origins, column)]
        return frame.with_columns(polars.Series("id", ids, dtype=polars.String))

    @functools.cached_property
    def _ids(self) -> np.ndarray:
        """The row ids as they stand in `rows`, of type S32: 32 bytes each where a list of strings takes 90."""
        blocks = [np.asarray(chunk.cast(pa.binary(ID_DIGITS)).to_numpy(zero_copy_only=False), dtype=f"S{ID_DIGITS}")
                  for chunk in self.rows["row_id"].chunks]  # fmt: skip
        return np.concatenate(blocks) if blocks else np.zeros(0, dtype=f"S{ID_DIGITS}")

    def positions(self, row_ids: Sequence[str]) -> np.ndarray:
        """int64: where the rows with these ids stand. Raises InputError naming an id that the pool does not have."""
        wanted = [row_id.encode() for row_id in row_ids]
        index = np.searchsorted(self._ids, np.array(wanted, dtype=f"S{ID_DIGITS}"))
        for row_id, given, at in zip(row_ids, wanted, index.tolist(), strict=True):
            if at == len(self) or self._ids[at] != given:
                raise InputError(f"the pool has no row with the id '{row_id}'")
        return index

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


def as_text(value: object) -> str | None:
    """A value of the user's id column as text; None stays None."""
    return value if value is None or isinstance(value, str) else str(value)


def _some(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return listed(names[:most]) + more


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


def shapes_of(layouts: Sequence[Layout], codes: np.ndarray) -> dict[str, int]:
    """How many rows came in each shape. `codes`: of each row's layout."""
    counts: Counter[str] = Counter()
    for code, count in zip(*np.unique(codes, return_counts=True), strict=True):
        counts[layouts[code].shape] += int(count)
    return dict(counts)
