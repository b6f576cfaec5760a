"""The store: every result under a fingerprint of what made it, as Arrow files on disk.

    store/rows/<address>/spec.json, part-*.arrow     one value per row id, computed once, appended to in shards
    store/fits/<address>/spec.json, rows.txt, ...    something learned from a set of rows
    store/arms/<address>/...                         the training and evaluation of one arm
    store/hashes.json                                content hashes of model files by path, size and time

An address is a hash of the spec alone. Files are written under a temporary name and renamed, so a reader never sees
a half-written one, and two processes that compute the same thing write the same bytes under the same name.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.errors import CurateError, InputError
from curate.files import atomic_file, atomic_folder

STORE_VERSION = 1


def default_store() -> Path:
    """`$CURATE_STORE`, else `curate` in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("CURATE_STORE") or f"{cache}/curate").expanduser()


def address(spec: Mapping[str, Any]) -> str:
    """24 hex digits of the SHA-256 of a spec (JSON values only), whatever the order of its keys."""
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def hash_ids(row_ids: Iterable[str]) -> str:
    """32 hex digits for a set of rows, whatever their order."""
    digest = hashlib.sha256()
    for row_id in sorted(row_ids):
        digest.update(row_id.encode())
    return digest.hexdigest()[:32]


@dataclass(frozen=True)
class RowArtifact:
    """One column of results keyed by row id: a value, or null with the reason why there is none."""

    folder: Path
    type: pa.DataType

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([("row_id", pa.string()), ("value", self.type), ("reason", pa.string())])

    def table(self) -> pa.Table:
        """All rows computed so far: row_id, value (null where there is none), reason (null where there is a value)."""
        return pa.concat_tables([self.schema.empty_table(), *(part.cast(self.schema) for part in self._parts())])

    def seconds(self) -> float:
        """Wall time that computing the rows took, whichever run did it."""
        return sum(float((part.schema.metadata or {}).get(b"seconds", b"0")) for part in self._parts())

    def _parts(self) -> list[pa.Table]:
        return [self._read(path) for path in sorted(self.folder.glob("part-*.arrow"))]

    def positions(self, row_ids: Sequence[str], table: pa.Table | None = None) -> np.ndarray:
        """int64 [n]: where each row id stands in the table, -1 where it is missing."""
        known = (table if table is not None else self.table())["row_id"].to_pylist()
        where = {row_id: i for i, row_id in enumerate(known)}
        return np.array([where.get(row_id, -1) for row_id in row_ids], dtype=np.int64)

    def get(self, row_ids: Sequence[str]) -> pa.Table:
        """The rows asked for, in that order. Raises CurateError when one was never computed."""
        table = self.table()
        where = self.positions(row_ids, table)
        if (where < 0).any():
            raise CurateError(f"{int((where < 0).sum())} rows are missing from the artifact {self.folder.name}")
        return table.take(pa.array(where))

    def put(
        self, row_ids: Sequence[str], values: Sequence[Any] | pa.Array, reasons: Sequence[str | None], seconds: float = 0.0
    ) -> None:
        """Add a shard of rows and what it took. Its name is a hash of its row ids: the same shard is written once."""
        if not len(row_ids):
            return
        columns = [pa.array(row_ids, pa.string()), pa.array(values, self.type), pa.array(reasons, pa.string())]
        table = pa.table(columns, schema=self.schema.with_metadata({"seconds": repr(float(seconds))}))
        with (
            atomic_file(self.folder / f"part-{hash_ids(row_ids)[:16]}.arrow") as path,
            pa.OSFile(str(path), "wb") as sink,
            pa.ipc.new_file(sink, table.schema) as writer,
        ):
            writer.write_table(table)

    def _read(self, path: Path) -> pa.Table:
        try:
            with pa.memory_map(str(path)) as source:
                table = pa.ipc.open_file(source).read_all()
            table.validate(full=True)
            table.cast(self.schema)
        except (OSError, ValueError, pa.ArrowException) as error:  # what a damaged file raises differs with the place
            raise CurateError(f"the store's file {path} is damaged ({_line(error)}); remove it and run again") from None
        return table


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


class Store:
    """A folder of artifacts. Safe to share between processes; removing it loses time, never data."""

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        self.root = Path(root) if root is not None else default_store()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"the store {self.root} cannot be made: {error.strerror}") from None

    def rows(self, spec: Mapping[str, Any], type: pa.DataType) -> RowArtifact:
        """The row-wise artifact of this spec, empty when nothing of it was computed yet."""
        folder = self.root / "rows" / address(spec)
        if not (folder / "spec.json").exists():
            self._write_spec(folder, spec)
        return RowArtifact(folder, type)

    def folder(self, kind: str, spec: Mapping[str, Any]) -> Path:
        """Where the artifact of this spec lies, or will."""
        return self.root / kind / address(spec)

    def has(self, kind: str, spec: Mapping[str, Any]) -> bool:
        return (self.folder(kind, spec) / "spec.json").exists()

    def make(self, kind: str, spec: Mapping[str, Any], build: Callable[[Path], None]) -> Path:
        """The folder of a fitted artifact; `build(temporary folder)` fills it when it is not there yet."""
        folder = self.folder(kind, spec)
        if not self.has(kind, spec):
            with atomic_folder(folder) as temporary:
                build(temporary)
                (temporary / "spec.json").write_text(json.dumps(spec, indent=1, sort_keys=True))
        return folder

    def hash_cache(self) -> dict[str, str]:
        """Content hashes of files by path, size and time; see `save_hash_cache`."""
        with suppress(OSError, ValueError):
            found = json.loads((self.root / "hashes.json").read_text())
            return found if isinstance(found, dict) else {}
        return {}

    def save_hash_cache(self, cache: Mapping[str, str]) -> None:
        with atomic_file(self.root / "hashes.json") as path:
            path.write_text(json.dumps({**self.hash_cache(), **cache}))

    def _write_spec(self, folder: Path, spec: Mapping[str, Any]) -> None:
        with atomic_file(folder / "spec.json") as path:
            path.write_text(json.dumps(spec, indent=1, sort_keys=True))
