"""The folder of artifacts: finding, making and using them."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.errors import InputError
from curate.files import atomic_file, atomic_folder
from curate.store.checks import Damaged, address, canonical, check_folder, read_spec, seal_folder, sealed, unseal
from curate.store.rows import RowArtifact, Shard

STORE_VERSION = 2  # raise it when the files of a store are laid out in another way
KINDS = ("rows", "fits", "arms", "plans")
CHECKED_ON_USE = 64 << 20  # bytes; larger files of a fit (its weights) are checked by `curate store verify` alone


def default_store() -> Path:
    """`$CURATE_STORE`, else `curate` in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("CURATE_STORE") or f"{cache}/curate").expanduser()


class Store:
    """A folder of artifacts. Safe to share between processes; removing it loses time, never data.

    Raises InputError for a folder that cannot be made or that another version of curate wrote.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        self.root = Path(root) if root is not None else default_store()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self._check_version()
        except OSError as error:
            raise InputError(f"the store {self.root} cannot be made: {error.strerror}") from None
        self._used: set[str] = set()
        self._shards: dict[Path, dict[str, Shard]] = {}
        self._checked: set[Path] = set()

    @classmethod
    def existing(cls, root: str | os.PathLike[str] | None = None) -> "Store":
        """A store that is there already. Raises InputError when it is not."""
        folder = Path(root) if root is not None else default_store()
        if not (folder / "VERSION").is_file():
            raise InputError(f"there is no store in {folder}")
        return cls(folder)

    def rows(self, spec: Mapping[str, Any], type: pa.DataType) -> RowArtifact:
        """The row-wise artifact of this spec, empty when nothing of it was computed yet."""
        folder = self.folder("rows", spec)
        artifact = RowArtifact(folder, type, spec, self._shards.setdefault(folder, {}))
        if folder.is_dir():
            with suppress(OSError):  # a store that can be read alone serves too
                artifact.write_spec()
        return artifact

    def folder(self, kind: str, spec: Mapping[str, Any]) -> Path:
        """Where the artifact of this spec lies, or will; it counts as used."""
        folder = self.root / kind / address(spec)
        self.use(folder)
        return folder

    def has(self, kind: str, spec: Mapping[str, Any]) -> bool:
        """Whether the artifact of this spec is there."""
        return (self.root / kind / address(spec)).is_dir()

    def specs(self, kind: str) -> Iterator[tuple[Path, dict[str, Any]]]:
        """The folder and the spec of every artifact of a kind. Raises Damaged for a spec that has changed."""
        for folder in self.folders(kind):
            with suppress(FileNotFoundError):  # removed meanwhile
                yield folder, read_spec(folder)

    def folders(self, kind: str) -> list[Path]:
        """The folders of a kind whose names are addresses: neither what is being written nor what is not ours."""
        return sorted(path for path in (self.root / kind).glob("*") if re.fullmatch("[0-9a-f]{24}", path.name))

    def make(self, kind: str, spec: Mapping[str, Any], build: Callable[[Path], None]) -> Path:
        """The folder of a fitted artifact; `build(temporary folder)` fills it when it is not there yet."""
        folder = self.folder(kind, spec)
        if not self.has(kind, spec):
            with atomic_folder(folder) as temporary:
                build(temporary)
                (temporary / "spec.json").write_text(canonical(spec))
                seal_folder(temporary)
        return folder

    # What a run used --------------------------------------------------------------------------------------------------

    def use(self, folder: Path) -> None:
        """Take down that an artifact was used: for the manifest, and as its time of last use.

        Raises Damaged when it is a fit or an arm that is not as it was written.
        """
        if folder.parent.name != "rows" and folder not in self._checked and folder.is_dir():
            check_folder(folder, largest=CHECKED_ON_USE)
            self._checked.add(folder)
        self._used.add(f"{folder.parent.name}/{folder.name}")
        with suppress(OSError):
            os.utime(folder)

    def provenance(self) -> dict[str, Any]:
        """What a manifest says of the store: its folder, and the artifacts used since it was opened."""
        return {
            "folder": str(self.root.resolve()),
            "artifacts": sorted(name for name in self._used if (self.root / name).is_dir()),
        }

    # Content hashes of model files ------------------------------------------------------------------------------------

    def hash_cache(self) -> dict[str, str]:
        """Content hashes of files by "path|size|time"; see `save_hash_cache`."""
        found = {}
        for path in (self.root / "hashes").glob("*.json"):
            with suppress(OSError, Damaged):  # the file is hashed again
                entry = unseal(path)
                found[entry["file"]] = entry["hash"]
        return found

    def save_hash_cache(self, cache: Mapping[str, str]) -> None:
        """Keep content hashes; a file of its own for each path, so that processes do not write over one another."""
        kept = self.hash_cache()
        for key, value in cache.items():
            if kept.get(key) != value and _is_current(key):
                with suppress(OSError), atomic_file(self._hash_file(key)) as path:
                    path.write_text(sealed({"file": key, "hash": value}))

    def _hash_file(self, key: str) -> Path:
        return self.root / "hashes" / f"{address({'path': key.rsplit('|', 2)[0]})}.json"

    def _check_version(self) -> None:
        file = self.root / "VERSION"
        if not file.exists():
            if any((self.root / kind).exists() for kind in KINDS):
                raise InputError(self._other_version("1"))
            with atomic_file(file) as path:
                path.write_text(f"{STORE_VERSION}\n")
        found = file.read_bytes()
        if found != f"{STORE_VERSION}\n".encode():
            raise InputError(self._other_version(found.decode(errors="replace").strip()[:20]))

    def _other_version(self, found: str) -> str:
        return (
            f"the store {self.root} is of version {found!r}, and this curate works with version {STORE_VERSION}; "
            "name another with --store, or remove it"
        )


def _is_current(key: str) -> bool:
    """False for an entry that the file has outgrown: another, newer one may have taken its place."""
    path, size, time = key.rsplit("|", 2)
    try:
        stat = os.stat(path)
    except OSError:
        return False
    return (str(stat.st_size), str(stat.st_mtime_ns)) == (size, time)
