"""Tables: Parquet, Arrow files and Arrow streams."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import InputError
from curate.pool import reasons
from curate.pool.arrow_checks import check_schema, row_bytes, unwritable
from curate.pool.batches import BATCH_BYTES, BATCH_ROWS, Batch, Record
from curate.pool.expansion import Expansion
from curate.pool.reasons import Unusable
from curate.pool.shapes import Shaper

ROW_BYTES = 64  # what a row takes at least, however little is in it
GROUP_BYTES = 64 * 1024**2  # of texts, as they may become, above which a row group of Parquet is measured before it is read


def read_tables(tables: Iterator[pa.Table], name: str, shaper: Shaper, expansion: Expansion | None = None) -> Iterator[Batch]:
    """Batches of tables, with row numbers for lines.

    A row is rejected that is over the limit, or has a value that could not be written again. Raises InputError for columns of
    one name, for types that cannot be written, and where the rows are more than `expansion` allows.
    """
    number = 1
    for table in tables:
        check_schema(table.schema, name)
        for start in range(0, len(table), BATCH_ROWS):
            whole = table.slice(start, BATCH_ROWS)
            sizes = sum((row_bytes(column) for column in whole.columns), np.zeros(len(whole), np.int64))
            if expansion is not None:
                expansion.add(int(sizes.sum()) + ROW_BYTES * len(whole))
            for first, stop in _parts(np.minimum(sizes, reasons.MAX_ROW_BYTES)):
                part = whole.slice(first, stop - first)
                yield Batch(range(number, number + len(part)), _records(part, shaper, sizes[first:stop]), part)
                number += len(part)


def _parts(sizes: np.ndarray) -> Iterator[tuple[int, int]]:
    """Where to cut rows of these sizes, so that no part is much larger than BATCH_BYTES."""
    cuts = np.flatnonzero(np.diff(np.cumsum(sizes) // BATCH_BYTES)) + 1
    yield from zip([0, *cuts.tolist()], [*cuts.tolist(), len(sizes)], strict=True)


def _records(table: pa.Table, shaper: Shaper, sizes: np.ndarray) -> list[Record | Unusable]:
    """The rows as Python values, of the columns that matter only: the others may be large and are never looked at."""
    large = sizes > reasons.MAX_ROW_BYTES
    fit = table.filter(pa.array(~large)) if large.any() else table
    faults = unwritable(fit)
    if any(faults):
        fit = fit.filter(pa.array([not fault for fault in faults]))
    wanted = shaper.wanted(fit.schema)
    good: list[Record | Unusable] = fit.select(wanted).to_pylist() if wanted else [dict.fromkeys(fit.column_names)] * len(fit)
    if len(good) == len(table):
        return good
    records, left = iter(good), iter(faults)
    too_large = Unusable(reasons.TOO_LARGE, f"more than {reasons.MAX_ROW_BYTES:,} bytes")
    whys = (reasons.TOO_LARGE if over else next(left) for over in large.tolist())
    return [next(records) if not why else too_large if why == reasons.TOO_LARGE else Unusable(why) for why in whys]


def parquet_tables(path: Path, expansion: Expansion) -> Iterator[pa.Table]:
    """The rows of a Parquet file, a few thousand at a time, or fewer where they are large.

    Raises InputError where a single one is larger than a batch of them may be, and where its footer says that it expands too far.
    """
    with pq.ParquetFile(path) as file:
        groups = (file.metadata.row_group(at) for at in range(file.num_row_groups))
        expansion.check(sum(group.column(at).total_uncompressed_size for group in groups for at in range(group.num_columns)))
        coded = _coded(path, file)
        for group in range(file.num_row_groups):
            for batch in file.iter_batches(_rows_at_once(file, coded, group, expansion.name), row_groups=[group]):
                yield pa.Table.from_batches([batch])


def _coded(path: Path, file: pq.ParquetFile) -> pq.ParquetFile:
    """The file with its texts as they are stored, each different one once."""
    columns = (file.schema.column(at) for at in range(len(file.schema)))
    return pq.ParquetFile(path, read_dictionary=[column.path for column in columns if column.physical_type == "BYTE_ARRAY"])


def _rows_at_once(file: pq.ParquetFile, coded: pq.ParquetFile, group: int, name: str) -> int:
    """Rows of a row group that may be read together.

    A text that many rows share is stored once, and stands in memory once for each: kilobytes may become terabytes.
    """
    about = file.metadata.row_group(group)
    columns = [about.column(at) for at in range(about.num_columns)]
    shared = [column for column in columns if column.physical_type == "BYTE_ARRAY" and column.has_dictionary_page]
    if sum(column.num_values * column.total_uncompressed_size for column in shared) <= GROUP_BYTES:
        return BATCH_ROWS
    largest = 0
    for batch in coded.iter_batches(BATCH_ROWS, row_groups=[group], columns=[column.path_in_schema for column in shared]):
        sizes = sum((row_bytes(column) for column in batch.columns), np.zeros(len(batch), np.int64))
        largest = max(largest, int(sizes.max(initial=0)))
    if largest > GROUP_BYTES:
        raise InputError(f"{name}: it has a row of {largest:,} bytes, and more than {reasons.MAX_ROW_BYTES:,} are not read")
    return max(1, min(BATCH_ROWS, GROUP_BYTES // max(1, largest)))


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
            batch.validate()
            yield pa.Table.from_batches([batch])
