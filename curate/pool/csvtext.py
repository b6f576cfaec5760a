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
    lines_read = _Lines(stream, name)
    reader = csv.reader(lines_read)
    header: list[str] = []
    lines: list[int] = []
    records: list[Record | Unusable] = []
    raw: list[bytes] = []
    size = 0
    begins = 1
    try:
        for cells in reader:
            line, begins = begins, reader.line_num + 1
            lines_read.row_begins(begins)
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


class _Lines:
    """The lines as text; bytes that are not UTF-8 become lone surrogates, which `_record` finds.

    Raises InputError for a row over the limit, in one line or in several, which only an unclosed quote makes of honest files.
    """

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream, self._name, self._number = stream, name, 0
        self.row_begins(1)

    def row_begins(self, number: int) -> None:
        """A row begins on the line with this number."""
        self._begins, self._left = number, reasons.MAX_ROW_BYTES

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._stream.readline(self._left + 1)
        if not line:
            raise StopIteration
        self._number += 1
        self._left -= len(line)
        if self._left < 0:
            raise InputError(f"{self._name}, line {self._begins}: a row of more than {reasons.MAX_ROW_BYTES:,} bytes")
        return (line.removeprefix(BOM) if self._number == 1 else line).decode(errors="surrogateescape")


def _checked_header(cells: list[str], name: str) -> list[str]:
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        raise InputError(f"{name}: the header is not UTF-8") from None
    if len(cells) > reasons.MAX_COLUMNS:
        raise InputError(f"{name}: more than {reasons.MAX_COLUMNS:,} columns")
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
