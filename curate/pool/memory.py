"""Rows that are in memory already, as a source beside files: Arrow, polars and pandas frames, Hugging Face datasets, dicts."""

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from curate.errors import InputError
from curate.pool.batches import BATCH_ROWS
from curate.pool.sources import Source

SAYS = "a path, a Pool, a list of dicts, a datasets.Dataset, or a frame of polars, pandas or pyarrow"


def is_path(given: Any) -> bool:
    """Whether this names files, itself or one by one."""
    if isinstance(given, (str, Path)):
        return True
    return isinstance(given, Sequence) and all(isinstance(one, (str, Path)) for one in given)


def in_memory(given: Any) -> Source:
    """A source of these rows. Raises InputError for anything else, and for dicts that JSON cannot hold."""
    if isinstance(given, Sequence) and all(isinstance(one, Mapping) for one in given):
        try:
            lines = [orjson.dumps(dict(row), option=orjson.OPT_SERIALIZE_NUMPY) for row in given]
        except TypeError as error:
            raise InputError(f"the rows given: {error}") from None
        return Source("rows", Path("rows"), "lines", data=b"\n".join(lines))
    if isinstance(given, pa.Table):
        return Source("table", Path("table"), "table", data=given)
    if hasattr(given, "to_arrow"):  # polars
        return Source("frame", Path("frame"), "table", data=given.to_arrow())
    if hasattr(given, "with_format") and hasattr(given, "features"):  # datasets
        return Source("dataset", Path("dataset"), "dataset", data=given)
    if hasattr(given, "iloc"):  # pandas
        return Source("frame", Path("frame"), "table", data=pa.Table.from_pandas(given, preserve_index=False))
    if hasattr(given, "keys") and hasattr(given, "values"):
        raise InputError(
            f"the rows given are a {type(given).__name__} of {', '.join(map(str, list(given)[:5]))}; name one of them"
        )
    raise InputError(f"rows are given as {SAYS}, not as {type(given).__name__}")


def stream(source: Source) -> io.BytesIO:
    """The lines of dicts."""
    return io.BytesIO(source.data)


def tables(source: Source) -> Iterator[pa.Table]:
    """The rows of a frame or dataset, some at a time."""
    if source.format == "dataset":
        yield from source.data.with_format("arrow").iter(BATCH_ROWS)
        return
    for start in range(0, source.data.num_rows, BATCH_ROWS):
        yield source.data.slice(start, BATCH_ROWS)
