"""Arrow columns from Python records: typed where every row agrees, JSON text where not."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import orjson
import pyarrow as pa

_CANNOT = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, UnicodeError)
_CHUNK = 8192


class TypedColumns:
    """Collects blocks of records and gives back a table. A type is settled when all rows have been seen."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._chunks: dict[str, list[pa.Array] | None] = {name: [] for name in names}  # None: has no Arrow type

    def add(self, records: Sequence[dict[str, Any]]) -> None:
        for name in self._names:
            chunks = self._chunks[name]
            if chunks is None:
                continue
            try:
                chunk = pa.array([record.get(name) for record in records])
                if isinstance(chunk, pa.ChunkedArray) or not _writable(chunk.type):
                    raise pa.ArrowInvalid("too large, or no type that Parquet has")
                chunks.append(chunk)
            except _CANNOT:
                self._chunks[name] = None

    def table(self, again: Callable[[str], Iterable[Any]]) -> pa.Table:
        """The columns. `again(name)` gives a column's values once more, for one whose blocks disagree on the type."""
        return pa.table({name: self._column(self._chunks[name], partial(again, name)) for name in self._names})

    @staticmethod
    def _column(chunks: list[pa.Array] | None, again: Callable[[], Iterable[Any]]) -> pa.ChunkedArray:
        if chunks is not None:
            types = {chunk.type for chunk in chunks}
            if len(types) <= 1:
                return pa.chunked_array(chunks, type=types.pop() if types else pa.null())
            try:
                schemas = [pa.schema([("x", type_)]) for type_ in types]
                common = pa.unify_schemas(schemas, promote_options="permissive").field("x").type
                return _in_chunks(again(), lambda values: pa.array(values, type=common))
            except _CANNOT:
                pass
        return _in_chunks(again(), lambda values: pa.array([json_text(value) for value in values], type=pa.string()))


def json_text(value: object) -> str | None:
    """The value as JSON text; null stays null."""
    return None if value is None else orjson.dumps(value, default=str).decode()


def _in_chunks(values: Iterable[Any], make: Callable[[list[Any]], pa.Array]) -> pa.ChunkedArray:
    chunks: list[pa.Array] = []
    pending: list[Any] = []
    for value in values:
        pending.append(value)
        if len(pending) == _CHUNK:
            chunks.append(make(pending))
            pending = []
    chunks.append(make(pending))
    return pa.chunked_array(chunks)


def _writable(type_: pa.DataType) -> bool:
    """Parquet has no struct without fields."""
    if pa.types.is_struct(type_):
        return type_.num_fields > 0 and all(_writable(field.type) for field in type_)
    if pa.types.is_list(type_):
        return _writable(type_.value_type)
    return True
