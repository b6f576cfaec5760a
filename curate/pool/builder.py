"""Collects conversations column by column; sorts them, drops exact duplicates, and gives the canonical table."""

import binascii
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from curate.pool import reasons
from curate.pool.gather import gather
from curate.pool.reasons import Unusable
from curate.pool.shapes import Conversation, Layout
from curate.pool.validate import EXTRAS

_FLUSH_ROWS = 8192
_FLUSH_BYTES = 64 * 1024 * 1024  # far from the 2 GiB that one Arrow string array holds
_TYPES = dict.fromkeys(EXTRAS, pa.string()) | {"weight": pa.float64()}


def canonical_json(messages: list[dict[str, Any]], tools: list[Any] | None) -> bytes:
    """What a row id is the hash of: keys sorted, no spaces, UTF-8. Raises Unusable for what JSON cannot hold."""
    body: dict[str, Any] = {"messages": messages}
    if tools:
        body["tools"] = tools
    try:
        return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise Unusable(reasons.WRONG_TYPE, str(error)) from None


@dataclass(frozen=True)
class Built:
    """The pool's table and, row by row, where each row came from; and the duplicates, as positions as added."""

    rows: pa.Table
    origins: np.ndarray  # int64 [n]: position among the added rows
    layouts: list[Layout]
    layout_codes: np.ndarray  # int16 [n]
    duplicates: list[tuple[str, int, int]]  # (row id, position added, position of the one that is kept)


class Builder:
    """`add` every conversation in the order of the files, then `build` once."""

    def __init__(self) -> None:
        self._digests: list[bytes] = []
        self._columns: dict[str, list[pa.Array]] = {name: [] for name in ("source", "tools", "file", "line")}
        self._flat: dict[str, list[pa.Array]] = {}
        self._flat_lengths: list[int] = []
        self._lists: list[pa.Array] = []
        self._layouts: dict[Layout, int] = {}
        self._codes: list[np.ndarray] = []
        self._start()

    def _start(self) -> None:
        self._bytes = 0
        self._digest: list[bytes] = []
        self._source: list[str | None] = []
        self._tools: list[str | None] = []
        self._file: list[str] = []
        self._line: list[int] = []
        self._code: list[int] = []
        self._ends: list[int] = [0]
        self._role: list[str] = []
        self._content: list[str] = []
        self._extra: dict[str, dict[int, Any]] = {}

    def add(self, conversation: Conversation, file: str, line: int) -> None:
        """Raises Unusable when the conversation has no canonical JSON, or too large a one."""
        layout, messages, tools, source = conversation
        text = canonical_json(messages, tools)
        if len(text) > reasons.MAX_ROW_BYTES:
            raise Unusable(reasons.TOO_LARGE, f"{len(text):,} bytes, at most {reasons.MAX_ROW_BYTES:,}")
        self._digest.append(hashlib.blake2b(text, digest_size=16).digest())
        self._source.append(source)
        self._tools.append(orjson.dumps(tools).decode() if tools else None)
        self._file.append(file)
        self._line.append(line)
        self._code.append(self._layouts.setdefault(layout, len(self._layouts)))
        for message in messages:
            self._role.append(message["role"])
            self._content.append(message["content"])
            if len(message) > 2:
                self._add_extras(message)
        self._ends.append(len(self._role))
        self._bytes += len(text)
        if len(self._line) >= _FLUSH_ROWS or self._bytes >= _FLUSH_BYTES:
            self._flush()

    def _add_extras(self, message: dict[str, Any]) -> None:
        at = len(self._role) - 1
        for key in EXTRAS:
            if key in message:
                value = message[key]
                self._extra.setdefault(key, {})[at] = orjson.dumps(value).decode() if key == "tool_calls" else value

    def _flush(self) -> None:
        if not self._line:
            return
        self._digests.append(b"".join(self._digest))
        self._columns["source"].append(pa.array(self._source, type=pa.string()))
        self._columns["tools"].append(pa.array(self._tools, type=pa.string()))
        self._columns["file"].append(pa.array(self._file, type=pa.string()))
        self._columns["line"].append(pa.array(self._line, type=pa.int64()))
        self._codes.append(np.array(self._code, dtype=np.int16))
        fields = {"role": pa.array(self._role, type=pa.string()), "content": pa.array(self._content, type=pa.string())}
        for key in EXTRAS:
            if key in self._extra:
                values = self._extra[key]
                fields[key] = pa.array([values.get(at) for at in range(len(self._role))], type=_TYPES[key])
        structs = pa.StructArray.from_arrays(list(fields.values()), names=list(fields))
        self._lists.append(pa.ListArray.from_arrays(pa.array(self._ends, type=pa.int32()), structs))
        self._start()

    def build(self) -> Built:
        """Sorts by row id; of rows with one id the first added stays."""
        self._flush()
        digests = np.frombuffer(b"".join(self._digests), dtype=np.uint8).reshape(-1, 16)
        halves = digests.view(">u8")
        order = np.lexsort((halves[:, 1], halves[:, 0]))  # stable: among equals the first added comes first
        ordered = halves[order]
        first = np.ones(len(order), dtype=bool)
        first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
        kept = order[first]
        owner = kept[np.cumsum(first) - 1] if len(order) else order
        again = ~first
        duplicates = sorted(
            (
                (binascii.hexlify(digests[at].tobytes()).decode(), int(at), int(keeper))
                for at, keeper in zip(order[again], owner[again], strict=True)
            ),
            key=lambda duplicate: duplicate[1],
        )
        codes = np.concatenate(self._codes)[kept] if self._codes else np.zeros(0, dtype=np.int16)
        rows = self._table(digests, kept)
        return Built(rows, kept, list(self._layouts), codes, duplicates)

    def _table(self, digests: np.ndarray, kept: np.ndarray) -> pa.Table:
        messages = message_type([key for key in EXTRAS if any(_has(chunk, key) for chunk in self._lists)])
        lists = [_widened(chunk, messages) for chunk in self._lists]
        self._lists = []
        string = pa.string()
        return pa.table(
            {
                "row_id": _hex_column(digests[kept]),
                "source": gather(self._columns["source"], kept, string),
                "messages": gather(lists, kept, messages),
                "tools": gather(self._columns["tools"], kept, string),
                "file": gather(self._columns["file"], kept, string),
                "line": gather(self._columns["line"], kept, pa.int64()),
            }
        )


def message_type(extras: list[str]) -> pa.DataType:
    """list<struct<role, content, and these extras>>."""
    fields = [("role", pa.string()), ("content", pa.string()), *((key, _TYPES[key]) for key in extras)]
    return pa.list_(pa.struct(fields))


def _has(chunk: pa.Array, key: str) -> bool:
    return chunk.type.value_type.get_field_index(key) >= 0


def _widened(chunk: pa.Array, type_: pa.DataType) -> pa.Array:
    """The chunk with the fields it lacks added as nulls."""
    if chunk.type == type_:
        return chunk
    structs = chunk.values
    fields = [
        structs.field(field.name) if _has(chunk, field.name) else pa.nulls(len(structs), field.type) for field in type_.value_type
    ]
    return pa.ListArray.from_arrays(chunk.offsets, pa.StructArray.from_arrays(fields, fields=list(type_.value_type)))


def _hex_column(digests: np.ndarray) -> pa.Array:
    """32 hex digits a row, made without a Python string each."""
    text = binascii.hexlify(np.ascontiguousarray(digests).tobytes())
    offsets = np.arange(len(digests) + 1, dtype=np.int32) * 32
    return pa.StringArray.from_buffers(len(digests), pa.py_buffer(offsets), pa.py_buffer(text))
