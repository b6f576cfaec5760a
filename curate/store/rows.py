"""Row-wise artifacts: a value for each row id, in shards that are added to."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import CurateError
from curate.files import atomic_file
from curate.store.checks import Damaged, canonical, checksum, hash_ids

ROWS_DIGITS = 16  # of the hash of the row ids in a shard's name


@dataclass(frozen=True)
class Shard:
    """What is remembered of a shard file. Its name says what is in it, so nothing of this ever goes stale.

    `part-<hash of the row ids>-<number of rows>-<checksum of the file>.arrow`
    """

    ids: pa.StringArray
    seconds: float


@dataclass(frozen=True)
class RowArtifact:
    """One column of results keyed by row id: a value, or null with the reason why there is none."""

    folder: Path
    type: pa.DataType
    spec: Mapping[str, Any]
    known: dict[str, Shard] = field(default_factory=dict, repr=False)  # shards read before, by file name

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([("row_id", pa.string()), ("value", self.type), ("reason", pa.string())])

    def table(self) -> pa.Table:
        """All rows computed so far: row_id, value (null where there is none), reason (null where there is a value).

        Here and below: raises Damaged where a shard that is damaged has one of the rows asked for, or may have it because
        no sound shard has.
        """
        return self._read(self._shards())

    def seconds(self, row_ids: Sequence[str]) -> float:
        """Wall time that computing these rows took, whichever run did it; a shard's is shared out among its rows."""
        wanted = pa.array(row_ids, pa.string())
        shards = self._shards(row_ids).values()
        return sum(shard.seconds * (pc.is_in(shard.ids, value_set=wanted).true_count / len(shard.ids)) for shard in shards)

    def positions(self, row_ids: Sequence[str]) -> np.ndarray:
        """int64 [n]: where each row id stands in the table, -1 where it is missing."""
        return self._find(row_ids, self._shards(row_ids))

    def get(self, row_ids: Sequence[str]) -> pa.Table:
        """The rows asked for, in that order. Raises CurateError when one was never computed."""
        shards = self._shards(row_ids)
        where = self._find(row_ids, shards)
        if (where < 0).any():
            raise CurateError(f"{int((where < 0).sum())} rows are missing from the artifact {self.folder.name}")
        # Only the shards that hold one of the rows are read.
        names, sizes = list(shards), np.array([len(shard.ids) for shard in shards.values()], dtype=np.int64)
        starts = np.cumsum(sizes) - sizes
        shard = np.searchsorted(starts + sizes, where, side="right")
        used = np.zeros(len(names), dtype=bool)
        used[shard] = True
        moved = np.cumsum(np.where(used, sizes, 0)) - sizes  # where a shard starts among those that are read
        table = self._read([name for name, wanted in zip(names, used, strict=True) if wanted])
        return table.take(pa.array(where - starts[shard] + moved[shard])) if len(where) else table

    def put(
        self, row_ids: Sequence[str], values: Sequence[Any] | pa.Array, reasons: Sequence[str | None], seconds: float = 0.0
    ) -> None:
        """Add a shard of rows and what it took. A shard of the same rows that is there already is kept."""
        if not len(row_ids):
            return
        columns = [pa.array(row_ids, pa.string()), pa.array(values, self.type), pa.array(reasons, pa.string())]
        table = pa.table(columns, schema=self.schema.with_metadata({"seconds": repr(float(seconds))}))
        rows = hash_ids(row_ids)[:ROWS_DIGITS]
        if shard_files(self.folder, f"part-{rows}-"):
            return
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        data = sink.getvalue()
        self.write_spec()
        with atomic_file(self.folder / f"part-{rows}-{len(table)}-{checksum(data)}.arrow") as path:
            path.write_bytes(data)

    def write_spec(self) -> None:
        """Say in the folder what it holds, when that is not said there yet."""
        if not (self.folder / "spec.json").exists():
            with atomic_file(self.folder / "spec.json") as path:
                path.write_text(canonical(self.spec))

    def _shards(self, row_ids: Sequence[str] | None = None) -> dict[str, Shard]:
        """The sound shards on disk by name, in the order of their names; of two with the same rows the first.

        Raises Damaged as `table` says; `row_ids`: those asked for, None for all.
        """
        by_rows: dict[str, list[str]] = {}
        for name in sorted(shard_files(self.folder)):
            by_rows.setdefault(name.split("-")[1], []).append(name)
        sound: dict[str, Shard] = {}
        damaged: list[Damaged] = []
        for names in by_rows.values():
            faults = []
            for name in names:
                try:
                    sound[name] = self._shard(name)
                    break
                except Damaged as error:
                    faults.append(error)
            else:
                damaged.append(faults[0])
        sound = dict(sorted(sound.items()))
        if damaged:
            self._check_needed(damaged, sound, row_ids)
        return sound

    def _shard(self, name: str) -> Shard:
        """What is known of a shard, which is read the first time. Raises Damaged."""
        if name not in self.known:
            table = open_shard(self.folder / name, self.schema)
            # Copied, because a slice would keep the whole file in memory.
            ids = table["row_id"].combine_chunks().take(pa.array(np.arange(len(table))))
            self.known[name] = Shard(ids, json.loads((table.schema.metadata or {}).get(b"seconds", b"0")))
        return self.known[name]

    def _check_needed(self, damaged: Sequence[Damaged], sound: Mapping[str, Shard], row_ids: Sequence[str] | None) -> None:
        if row_ids is None:
            raise damaged[0]
        lacking = {row_ids[i] for i in np.flatnonzero(self._find(row_ids, sound) < 0).tolist()}
        for error in damaged:
            held = trusted_ids(error.path)
            if lacking if held is None else lacking & held:
                raise error

    def _find(self, row_ids: Sequence[str], shards: Mapping[str, Shard]) -> np.ndarray:
        if not shards:
            return np.full(len(row_ids), -1, dtype=np.int64)
        ids = pa.concat_arrays([shard.ids for shard in shards.values()])
        found = pc.index_in(pa.array(row_ids, pa.string()), value_set=ids)
        return found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)

    def _read(self, names: Sequence[str] | Mapping[str, Shard]) -> pa.Table:
        parts = [open_shard(self.folder / name, self.schema, check=name not in self.known) for name in names]
        return pa.concat_tables([self.schema.empty_table(), *(part.replace_schema_metadata() for part in parts)])


def shard_files(folder: Path, prefix: str = "part-") -> list[str]:
    """The names of the shards in a row-wise artifact."""
    try:
        return [name for name in os.listdir(folder) if name.startswith(prefix)]
    except FileNotFoundError:
        return []


def trusted_ids(path: Path) -> set[str] | None:
    """The row ids in a damaged shard; None where they cannot be read or are not those that its name was made of."""
    with suppress(CurateError, KeyError, ValueError, pa.ArrowException):
        column = open_shard(path, check=False)["row_id"]
        column.validate(full=True)
        ids: list[str] = column.cast(pa.string()).to_pylist()
        if None not in ids and hash_ids(ids)[:ROWS_DIGITS] == path.name.split("-")[1]:
            return set(ids)
    return None


def shard_rows(name: str) -> int:
    """How many rows a shard holds, by its name."""
    return int(name.split("-")[2])


def open_shard(path: Path, schema: pa.Schema | None = None, check: bool = True) -> pa.Table:
    """A shard, mapped into memory. Raises Damaged when its content is not what its name says, or not of this schema."""
    try:
        wanted = path.stem.split("-")[3]
        with pa.memory_map(str(path)) as source:
            if check and checksum(source.read_buffer()) != wanted:
                raise Damaged(path, "its checksum is another")
            source.seek(0)
            table = pa.ipc.open_file(source).read_all()
        return table if schema is None or table.schema.equals(schema) else table.cast(schema)
    except IndexError:
        raise Damaged(path, "its name is not one that curate gave") from None
    except FileNotFoundError:
        raise CurateError(f"the store's file {path} was removed while it was in use; run again") from None
    except (OSError, ValueError, pa.ArrowException) as error:  # what a damaged file raises differs with the place
        raise Damaged(path, " ".join(str(error).split())) from None
