"""Tables: Parquet, Arrow files and Arrow streams."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import InputError
from curate.pool import reasons
from curate.pool.batches import BATCH_ROWS, Batch, Record
from curate.pool.reasons import Unusable, listed
from curate.pool.shapes import Shaper


def read_tables(tables: Iterator[pa.Table], name: str, shaper: Shaper) -> Iterator[Batch]:
    """Batches of tables, with row numbers for lines. Raises InputError for columns of one name."""
    number = 1
    for table in tables:
        if len(set(table.column_names)) < len(table.column_names):
            twice = next(column for column in table.column_names if table.column_names.count(column) > 1)
            raise InputError(f"{name}: more than one column is called {listed([twice])}")
        for start in range(0, len(table), BATCH_ROWS):
            part = table.slice(start, BATCH_ROWS)
            yield Batch(range(number, number + len(part)), _records(part, shaper), part)
            number += len(part)


def _records(table: pa.Table, shaper: Shaper) -> list[Record | Unusable]:
    """The rows as Python values, of the columns that matter only: the others may be large and are never looked at."""
    wanted = shaper.wanted(table.schema)
    return _python(table.select(wanted)) if wanted else [dict.fromkeys(table.column_names)] * len(table)


def _python(table: pa.Table) -> list[Record | Unusable]:
    try:
        return list(table.to_pylist())
    except UnicodeDecodeError:  # Arrow does not check the text that others wrote
        if len(table) == 1:
            return [Unusable(reasons.NOT_UTF8)]
        half = len(table) // 2
        return _python(table.slice(0, half)) + _python(table.slice(half))


def parquet_tables(path: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH_ROWS):
            yield pa.Table.from_batches([batch])


def ipc_tables(path: Path) -> Iterator[pa.Table]:
    """An Arrow file or stream, memory-mapped."""
    with pa.memory_map(str(path)) as source:
        try:
            reader = pa.ipc.open_file(source)
            batches: Iterator[pa.RecordBatch] = (reader.get_batch(at) for at in range(reader.num_record_batches))
        except pa.ArrowInvalid:
            source.seek(0)
            batches = iter(pa.ipc.open_stream(source))
        for batch in batches:
            yield pa.Table.from_batches([batch])
