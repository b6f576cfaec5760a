"""Reads files of every kind into batches of records, a few thousand rows at a time."""

import gzip
import zlib
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, cast

import pyarrow as pa

from curate.errors import InputError
from curate.pool import arrow, hub, memory
from curate.pool.batches import Batch
from curate.pool.csvtext import read_csv
from curate.pool.expansion import MAX_EXPANSION, Expansion
from curate.pool.jsontext import read_json, read_jsonl
from curate.pool.shapes import Shaper
from curate.pool.sources import Source


def open_batches(
    source: Source, shaper: Shaper, limit: int | None = None, max_expansion: float = MAX_EXPANSION
) -> Generator[Batch]:
    """The rows of a source in its order. `limit` lets a dataset on the hub be streamed instead of fetched whole.

    max_expansion: how many times its own size a compressed file may become (`curate.pool.expansion`).
    Raises InputError naming the source when it cannot be opened, is cut short, is not what its name says, or expands too far.
    """
    try:
        yield from _batches(source, shaper, limit, max_expansion)
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{source.name}: it does not fit into memory") from None
    except (OSError, EOFError, zlib.error, pa.ArrowException, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{source.name}: {_sentence(error)}") from None


def _batches(source: Source, shaper: Shaper, limit: int | None, max_expansion: float) -> Iterator[Batch]:
    def expansion() -> Expansion:
        return Expansion(source.path, source.name, max_expansion)

    def opened() -> AbstractContextManager[IO[bytes]]:
        return open_bytes(source.path, source.compression, expansion())

    if source.format == "jsonl":
        with opened() as stream:
            yield from read_jsonl(stream)
    elif source.format == "json":
        yield from read_json(opened, source.name, shaper)
    elif source.format == "lines":
        yield from read_jsonl(memory.stream(source))
    elif source.format == "csv":
        with opened() as stream:
            yield from read_csv(stream, source.name)
    else:
        tables = {
            "parquet": lambda: arrow.parquet_tables(source.path, expansion()),
            "arrow": lambda: arrow.ipc_tables(source.path),
            "saved": lambda: hub.saved_tables(source.path),
            "hub": lambda: hub.hub_tables(str(source.path), limit),
            "table": lambda: memory.tables(source),
            "dataset": lambda: memory.tables(source),
        }[source.format]()
        yield from arrow.read_tables(tables, source.name, shaper, expansion() if source.format in ("parquet", "arrow") else None)


@contextmanager
def open_bytes(path: Path, compression: str | None, expansion: Expansion) -> Iterator[IO[bytes]]:
    """The bytes of a file, decompressed as they are read."""
    if compression == ".gz":
        with gzip.open(path, "rb") as stream:
            yield expansion.stream(cast(IO[bytes], stream))
    elif compression == ".zst":
        with pa.input_stream(str(path), compression="zstd") as native:
            yield expansion.stream(native)
    else:
        with path.open("rb", buffering=1 << 18) as plain:
            yield plain


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return first if len(first) <= 300 else first[:297] + "..."
