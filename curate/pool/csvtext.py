"""CSV with a header. Every cell is text: CSV has no types, and 007 is not 7."""

import csv
from collections.abc import Iterator
from typing import IO

import orjson

from curate.errors import InputError
from curate.pool import reasons
from curate.pool.batches import BATCH_BYTES, BATCH_ROWS, Batch, Record
from curate.pool.jsontext import BOM
from curate.pool.reasons import Unusable, listed


def read_csv(stream: IO[bytes], name: str) -> Iterator[Batch]:
    """Rows with the line that each begins on; blank lines are passed over.

    A row with too many or too few cells, or not UTF-8, is rejected. Raises InputError where two columns have one name,
    and where a row is larger than the limit, for then nobody knows where it ends.
    """
    csv.field_size_limit(reasons.MAX_ROW_BYTES)  # of the process; the library's own default is 128 KiB
    reader = csv.reader(_lines(stream, name))
    header: list[str] = []
    lines: list[int] = []
    records: list[Record | Unusable] = []
    raw: list[bytes] = []
    size = 0
    begins = 1
    try:
        for cells in reader:
            line, begins = begins, reader.line_num + 1
            if not cells:
                continue
            if not header:
                header = _checked_header(cells, name)
                continue
            record, text = _record(header, cells)
            lines.append(line)
            records.append(record)
            raw.append(text)
            size += len(text)
            if len(lines) == BATCH_ROWS or size > BATCH_BYTES:
                yield Batch(lines, records, raw)
                lines, records, raw, size = [], [], [], 0
    except csv.Error as error:
        raise InputError(f"{name}, line {begins}: {error}") from None
    if lines:
        yield Batch(lines, records, raw)


def _lines(stream: IO[bytes], name: str) -> Iterator[str]:
    """The lines as text; bytes that are not UTF-8 become lone surrogates, which `_record` finds."""
    limit = reasons.MAX_ROW_BYTES
    number = 0
    while line := stream.readline(limit):
        number += 1
        if len(line) == limit and not line.endswith(b"\n"):
            raise InputError(f"{name}, line {number}: longer than {limit:,} bytes")
        yield (line.removeprefix(BOM) if number == 1 else line).decode(errors="surrogateescape")


def _checked_header(cells: list[str], name: str) -> list[str]:
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        raise InputError(f"{name}: the header is not UTF-8") from None
    twice = sorted({cell for cell in cells if cells.count(cell) > 1})
    if twice:
        raise InputError(f"{name}: more than one column is called {listed(twice[:1])}")
    return cells


def _record(header: list[str], cells: list[str]) -> tuple[Record | Unusable, bytes]:
    """The row, or why it cannot be used, and its text."""
    whole = ",".join(cells)
    try:
        text = whole.encode()
    except UnicodeEncodeError:
        return Unusable(reasons.NOT_UTF8), whole.encode(errors="surrogateescape")
    if len(cells) != len(header):
        return Unusable(reasons.CUT_OFF, f"{len(cells)} where the header has {len(header)}"), text
    if len(text) > reasons.MAX_ROW_BYTES:
        return Unusable(reasons.TOO_LARGE, f"more than {reasons.MAX_ROW_BYTES:,} bytes"), text
    record = dict(zip(header, cells, strict=True))
    return record, orjson.dumps(record)
