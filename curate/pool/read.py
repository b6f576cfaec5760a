"""From paths to a pool: every row read is in the pool, rejected with a reason, or listed as a duplicate."""

import gc
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from curate.errors import InputError
from curate.pool import reasons
from curate.pool.batches import Batch
from curate.pool.builder import Builder
from curate.pool.expansion import MAX_EXPANSION
from curate.pool.gather import starts_of
from curate.pool.memory import in_memory, is_path
from curate.pool.origin import Origin
from curate.pool.originals import Block, Originals
from curate.pool.pool import Pool, as_text, shapes_of
from curate.pool.readers import open_batches
from curate.pool.reasons import Unusable, listed
from curate.pool.report import Duplicate, ReadReport, Rejected
from curate.pool.shapes import ACCEPTED, Shaper
from curate.pool.sources import Source, resolve


def read_pool(
    paths: Any,
    *,
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
    max_expansion: float = MAX_EXPANSION,
) -> Pool:
    """Reads conversations from files, or from rows in memory, into a pool.

    paths    one or several of: files (JSONL, JSON, Parquet, Arrow, CSV; JSON also gzipped or zstandard), folders or globs
             of them, a Hugging Face dataset saved on disk, a hub name (`org/name` where no such path exists, or
             `hub:org/name`). Or rows themselves: a list of dicts, a datasets.Dataset, a frame of polars, pandas or pyarrow
    columns  canonical name -> the user's column, where the names differ from those of the known shapes
    limit    reads the first so many rows only, over all files
    max_expansion  how many times its own size a compressed file may become, once that is more than 256 MiB

    A row that cannot be used is in `report.rejected`; of equal conversations the first stays. Raises InputError when a
    path is missing or cannot be read, when nothing in a file has a known shape, when no row is usable, and for a
    mapping to a column that is not there.
    """
    if limit is not None and limit < 1:
        raise InputError(f"the limit on rows must be at least 1, and is {limit}")
    reading = _Reading(Shaper(columns), limit, max_expansion)
    given: list[str | Path] = []
    if is_path(paths):
        given = [paths] if isinstance(paths, str | Path) else list(paths)
        if not given:
            raise InputError("no path was given")
        sources = [source for path in given for source in resolve(path)]
    else:
        sources = [in_memory(paths)]
    with _collector_paused():
        for source in sources:
            if not reading.full:
                reading.source(source)
        pool = reading.pool()
    return replace(pool, origin=Origin.of(given, pool.report.files, columns, limit)) if given else pool


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Rows make millions of dicts and no cycles: looking for cycles among them takes a quarter of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _Reading:
    """What has been read so far."""

    def __init__(self, shaper: Shaper, limit: int | None, max_expansion: float) -> None:
        self.shaper, self._max_expansion = shaper, max_expansion
        self._left = limit
        self._builder = Builder()
        self._files: list[str] = []
        self._rejected: list[Rejected] = []
        self._rows_in = 0
        self._blocks: list[Block] = []
        self._names: dict[str, None] = {}
        self._key_sets: set[tuple[str, ...]] = set()
        self._places: list[tuple[str, Sequence[int]]] = []

    @property
    def full(self) -> bool:
        return self._left == 0

    def source(self, source: Source) -> None:
        """Reads one source. Raises InputError when none of its rows has a known shape."""
        self._files.append(source.name)
        rows_before, rejected_before = self._rows_in, len(self._rejected)
        keys: dict[str, bool] = {}  # columns of rows without a known shape, and which hold text
        with closing(open_batches(source, self.shaper, self._left, self._max_expansion)) as batches:
            for batch in batches:
                if self._left is not None:
                    batch = batch.head(self._left)
                    self._left -= len(batch.lines)
                self._rows_in += len(batch.lines)
                self._batch(source.name, batch, keys)
                if self.full:
                    break
        rejected = self._rejected[rejected_before:]
        if not rejected or len(rejected) < self._rows_in - rows_before:
            return
        if all(row.reason.startswith(reasons.NO_SHAPE) for row in rejected):
            self._check_mapping(f"{source.name}: ", keys)
            raise InputError(
                f"{source.name}: no known shape in the columns {listed(list(keys)[:20])}; accepted are "
                f"{ACCEPTED}; other columns can be mapped to these, as in {_mapping_example(keys)}"
            )

    def _batch(self, name: str, batch: Batch, keys: dict[str, bool]) -> None:
        shape, add, lines, raw = self.shaper, self._builder.add, batch.lines, batch.raw
        kept: list[int] = []
        for at, record in enumerate(batch.records):
            if isinstance(record, Unusable):  # not raised again: a stored exception would tie its frames into a cycle
                self._reject(Rejected(name, lines[at], str(record), self._text(raw, at)))
                continue
            try:
                add(shape(record), name, lines[at])
            except Unusable as fault:
                if fault.reason in reasons.NO_SHAPE and len(keys) < 100 and isinstance(record, dict):
                    keys.update(_text_columns(raw if isinstance(raw, pa.Table) else record))
                self._reject(Rejected(name, lines[at], str(fault), self._text(raw, at)))
                continue
            kept.append(at)
            if isinstance(raw, list):
                self._note_keys(tuple(record), name, lines[at])
        if not kept:
            return
        if isinstance(raw, pa.Table):
            self._note_keys(tuple(raw.column_names), name, lines[0])
            self._blocks.append(raw if len(kept) == len(lines) else raw.take(pa.array(kept)))
        else:
            self._blocks.append(pa.array([raw[at] for at in kept], type=pa.large_binary()))
        self._places.append((name, [lines[at] for at in kept] if len(kept) < len(lines) else lines))

    def _reject(self, row: Rejected) -> None:
        self._rejected.append(row)
        if len(self._rejected) > reasons.MAX_REJECTED:
            raise InputError(f"more than {reasons.MAX_REJECTED:,} rows cannot be used; {row.file}, line {row.line}: {row.reason}")

    def _note_keys(self, keys: tuple[str, ...], name: str, line: int) -> None:
        if keys in self._key_sets:
            return
        self._key_sets.add(keys)
        self._names.update(dict.fromkeys(keys))
        if len(self._names) > reasons.MAX_COLUMNS:
            raise InputError(f"{name}, line {line}: more than {reasons.MAX_COLUMNS:,} different columns in all")

    def _text(self, raw: list[bytes] | pa.Table, at: int) -> str | None:
        if len(self._rejected) >= reasons.RECORD_TEXT_ROWS:
            return None
        if isinstance(raw, list):
            text = raw[at][: 4 * reasons.RECORD_TEXT_CHARS].decode(errors="replace")
        else:
            try:
                text = orjson.dumps(raw.slice(at, 1).to_pylist()[0], default=str).decode()
            except (ValueError, OverflowError, orjson.JSONEncodeError, pa.ArrowException):
                return None
        return text[: reasons.RECORD_TEXT_CHARS]

    def pool(self) -> Pool:
        """The pool of all that was read. Raises InputError when that is nothing."""
        if not self._rows_in:
            raise InputError(f"{', '.join(self._files[:3])}: no rows")
        if len(self._rejected) == self._rows_in:
            first = self._rejected[0]
            place = f"{first.file}, line {first.line}: {first.reason}"
            if self._rows_in == 1:
                raise InputError(f"the only row cannot be used: {place}")
            raise InputError(f"none of the {self._rows_in:,} rows can be used; the first: {place}")
        self._check_mapping("", self._names)
        built = self._builder.build()
        originals = Originals(self._blocks, list(self._names))
        duplicates = self._duplicates(built.duplicates, originals)
        layouts, columns = tuple(built.layouts), self.shaper.columns
        shapes = shapes_of(layouts, built.layout_codes)
        report = ReadReport(tuple(self._files), self._rows_in, shapes, tuple(self._rejected), duplicates)
        return Pool(built.rows, report, originals, built.origins, layouts, built.layout_codes, columns)

    def _check_mapping(self, where: str, names: Iterable[str]) -> None:
        """Raises InputError for a mapping to a column that is not among the names."""
        names = list(names)
        for field, column in self.shaper.columns.items():
            if column not in names:
                raise InputError(
                    f"{where}'{field}' is mapped to {listed([column])}, which no usable row has; there are: {listed(names[:20])}"
                )

    def _duplicates(self, found: list[tuple[str, int, int]], originals: Originals) -> tuple[Duplicate, ...]:
        starts = starts_of(self._blocks)

        def place(added: int) -> tuple[str, int]:
            block = int(np.searchsorted(starts, added, side="right")) - 1
            name, lines = self._places[block]
            return name, lines[added - int(starts[block])]

        id_column = self.shaper.columns.get("id", "id")
        records = originals.records(np.array([added for _, added, _ in found], dtype=np.int64))
        duplicates = []
        for (row_id, added, kept), record in zip(found, records, strict=True):
            id_ = as_text(record.get(id_column))
            duplicates.append(Duplicate(row_id, *place(added), self.shaper.source_of(record), id_, *place(kept)))
        return tuple(duplicates)


def _text_columns(given: pa.Table | Mapping[str, object]) -> dict[str, bool]:
    """Column -> whether it holds text."""
    if isinstance(given, pa.Table):
        return {field.name: pa.types.is_string(field.type) or pa.types.is_large_string(field.type) for field in given.schema}
    return {name: isinstance(value, str) for name, value in given.items()}


def _mapping_example(keys: Mapping[str, bool]) -> str:
    """Options that map two columns of the file's own, where it has two that hold text."""
    texts = [name for name, text in keys.items() if text and name.isprintable() and name not in ("", "id", "source", "system")]
    prompt, completion = texts[:2] if len(texts) > 1 else ("COLUMN", "COLUMN")
    return f"--map {shlex.quote(f'prompt={prompt}')} --map {shlex.quote(f'completion={completion}')}"
