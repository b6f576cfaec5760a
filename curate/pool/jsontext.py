"""JSON in its two forms: one object a line, read as a stream, and one document, read whole up to a limit."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import IO, Any

import orjson

from curate.errors import InputError
from curate.pool import reasons
from curate.pool.batches import BATCH_BYTES, BATCH_ROWS, Batch, Record
from curate.pool.reasons import Unusable
from curate.pool.shapes import Shaper

MAX_DOCUMENT_BYTES = 1024**3  # a JSON document must be parsed whole; above this it should be JSON lines
MAX_DOCUMENT_VALUES = 30_000_000  # each takes some 60 bytes of memory, however few of the file
BOM = b"\xef\xbb\xbf"


def read_jsonl(stream: IO[bytes]) -> Iterator[Batch]:
    """One JSON object a line; blank lines are passed over. No line longer than the limit is ever held in memory."""
    lines: list[int] = []
    records: list[Record | Unusable] = []
    raw: list[bytes] = []
    size = 0
    for number, line, too_large in _lines(stream):
        lines.append(number)
        raw.append(line)
        records.append(too_large or parse(line))
        size += len(line)
        if len(lines) == BATCH_ROWS or size > BATCH_BYTES:
            yield Batch(lines, records, raw)
            lines, records, raw, size = [], [], [], 0
    if lines:
        yield Batch(lines, records, raw)


def _lines(stream: IO[bytes]) -> Iterator[tuple[int, bytes, Unusable | None]]:
    """(line number from 1, the line without white space around it, the fault where it was too long and was cut)."""
    number = 0
    limit = reasons.MAX_ROW_BYTES
    while line := stream.readline(limit + 2):  # room for CR and LF
        number += 1
        ended = len(line) < limit + 2 or line.endswith(b"\n")
        if number == 1:
            line = line.removeprefix(BOM)
        if ended and (len(line) <= limit or len(line.rstrip(b"\r\n")) <= limit):
            if line := line.strip():
                yield number, line, None
            continue
        while not ended:  # pass over the rest piece by piece
            rest = stream.readline(limit)
            ended = not rest or rest.endswith(b"\n")
        yield number, line[: 4 * reasons.RECORD_TEXT_CHARS], _too_large()


def parse(line: bytes) -> Record | Unusable:
    """The JSON object on a line, or why there is none."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return _not_json(line, error)
    if type(record) is not dict:
        return Unusable(reasons.NOT_OBJECT, f"it is {type(record).__name__}")
    if line.count(b"[") + line.count(b"{") > reasons.MAX_DEPTH and too_deep(record):
        return _too_deep()
    return record


def _not_json(line: bytes, error: orjson.JSONDecodeError) -> Unusable:
    try:
        line.decode()
    except UnicodeDecodeError as fault:
        return Unusable(reasons.NOT_UTF8, f"at byte {fault.start + 1}")
    if "depth limit" in error.msg:
        return _too_deep()
    return Unusable(reasons.NOT_JSON, f"{error.msg} at character {error.pos + 1}")


def _too_large() -> Unusable:
    return Unusable(reasons.TOO_LARGE, f"more than {reasons.MAX_ROW_BYTES:,} bytes")


def _too_deep() -> Unusable:
    return Unusable(reasons.TOO_DEEP, f"more than {reasons.MAX_DEPTH} levels")


def too_deep(value: object) -> bool:
    """Whether lists and objects nest more than MAX_DEPTH levels; walked level by level, for recursion has its limit."""
    level = [value]
    for _ in range(reasons.MAX_DEPTH):
        inner: list[object] = []
        for item in level:
            if isinstance(item, dict):
                inner += item.values()
            elif isinstance(item, list):
                inner += item
        if not inner:
            return False
        level = inner
    return any(isinstance(item, dict | list) for item in level)


def read_json(open_: Callable[[], AbstractContextManager[IO[bytes]]], name: str, shaper: Shaper) -> Iterator[Batch]:
    """A JSON document: a list of objects, or an object that holds one list of them; `lines` are row numbers.

    JSON lines under the name .json, which are common, are read as lines. Raises InputError for anything else.
    """
    with open_() as stream:
        if _is_jsonl(stream):
            with open_() as again:
                yield from read_jsonl(again)
            return
    with open_() as stream:
        text = stream.read(MAX_DOCUMENT_BYTES + 1)
    if len(text) > MAX_DOCUMENT_BYTES:
        raise InputError(f"{name}: a JSON document of more than {MAX_DOCUMENT_BYTES:,} bytes; put it into JSON lines")
    text = text.removeprefix(BOM)
    if not text.strip():
        return
    if text.count(b",") + text.count(b"[") + text.count(b"{") > MAX_DOCUMENT_VALUES:
        raise InputError(f"{name}: a JSON document of more than {MAX_DOCUMENT_VALUES:,} values; put it into JSON lines")
    try:
        rows = _rows(orjson.loads(text), name, shaper)
    except orjson.JSONDecodeError as error:
        raise InputError(f"{name}: {_not_json(text, error)}") from None
    del text
    for start in range(0, len(rows), BATCH_ROWS):
        found = [_checked(row) for row in rows[start : start + BATCH_ROWS]]
        raw = [text for _, text in found]
        yield Batch(range(start + 1, start + 1 + len(found)), [record for record, _ in found], raw)


def _is_jsonl(stream: IO[bytes]) -> bool:
    """Whether the first line is an object by itself and something follows it."""
    for number, line, fault in _lines(stream):
        if number == 1 and (fault or line[:1] != b"{" or isinstance(parse(line), Unusable)):
            return False
        if number > 1:
            return True
    return False


def _rows(document: Any, name: str, shaper: Shaper) -> list[Any]:
    if isinstance(document, list):
        return document
    if isinstance(document, dict):
        if shaper.fits(document):
            return [document]
        lists = [value for value in document.values() if isinstance(value, list)]
        if len(lists) == 1:
            return lists[0]
        raise InputError(f"{name}: the JSON object holds {len(lists)} lists, and one list of rows is wanted")
    raise InputError(f"{name}: a list of objects is wanted, and this is {type(document).__name__}")


def _checked(row: object) -> tuple[Record | Unusable, bytes]:
    """The row, or why it cannot be used, and its text."""
    if too_deep(row):
        return _too_deep(), b""
    text = orjson.dumps(row)
    if len(text) > reasons.MAX_ROW_BYTES:
        return _too_large(), text[: 4 * reasons.RECORD_TEXT_CHARS]
    return row if isinstance(row, dict) else Unusable(reasons.NOT_OBJECT, f"it is {type(row).__name__}"), text
