"""What a path means: which files in which format, a dataset saved on disk, or one on the hub."""

import glob
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curate.errors import InputError

COMPRESSED = (".gz", ".zst")
_FORMATS = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow",
    ".feather": "arrow", ".ipc": "arrow", ".csv": "csv",
}  # fmt: skip
_MAY_BE_COMPRESSED = ("jsonl", "json", "csv")
_METADATA = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "manifest.json"}
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
READABLE = "JSONL, JSON or CSV (plain, .gz or .zst), Parquet, Arrow"


@dataclass(frozen=True)
class Source:
    """One thing to read. `name` is what reports call it; `format` is jsonl, json, csv, parquet, arrow, saved or hub, and of
    rows in memory (`data`) lines, table or dataset."""

    name: str
    path: Path
    format: str
    compression: str | None = None
    data: Any = field(default=None, repr=False, compare=False)


def resolve(given: str | Path) -> list[Source]:
    """The sources behind a path, in the order of their names. Raises InputError when there is nothing to read."""
    name = str(given)
    if name.startswith("hub:"):
        return [_hub(name.removeprefix("hub:"))]
    path = Path(name)
    if path.is_dir():
        return _folder(path)
    if path.exists():
        source = _file(path)
        if source is None:
            raise InputError(f"{name}: cannot tell the format from its name; readable are {READABLE}")
        return [source]
    if glob.has_magic(name):
        return _glob(name)
    if _on_hub(name):
        return [_hub(name)]
    raise InputError(f"{name}: no such file or folder")


def located(given: str | Path) -> str:
    """A path as any working folder finds it; `hub:org/name` for what `resolve` looks for on the hub."""
    name = str(given)
    if name.startswith("hub:"):
        return name
    if not Path(name).exists() and not glob.has_magic(name) and _on_hub(name):
        return f"hub:{name}"
    return str(Path(name).absolute())


def _on_hub(name: str) -> bool:
    path = Path(name)
    return bool(_HUB_NAME.fullmatch(name)) and not _format(path)[0] and not path.parent.is_dir()


def _hub(name: str) -> Source:
    if not _HUB_NAME.fullmatch(name):
        raise InputError(f"'{name}' is not the name of a dataset on the hub, which looks like org/name")
    return Source(f"hub:{name}", Path(name), "hub")


def _folder(folder: Path) -> list[Source]:
    if (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file():
        return [Source(str(folder), folder, "saved")]
    try:
        sources = list(_readable(sorted(path for path in folder.rglob("*") if not _hidden(path.relative_to(folder)))))
        _check_links(folder, sources)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}") from None
    if not sources:
        raise InputError(f"{folder}: the folder holds nothing readable, which is {READABLE}")
    return sources


def _check_links(folder: Path, sources: list[Source]) -> None:
    """Raises InputError for a link to what lies outside the folder, which may be a file that nobody meant to train on.

    The hub's cache is made of such links: its snapshots hold links to the blobs beside them.
    """
    inside = [folder.resolve()]
    if "snapshots" in inside[0].parts:
        inside.append(Path(*inside[0].parts[: inside[0].parts.index("snapshots")]) / "blobs")
    for source in sources:
        if not any(source.path.resolve().is_relative_to(place) for place in inside):
            raise InputError(
                f"{source.path}: a link to {source.path.resolve()}, outside the folder; name that file itself to read it"
            )


def _glob(pattern: str) -> list[Source]:
    paths = sorted(Path(found) for found in glob.glob(pattern, recursive=True))
    sources = list(_readable(paths))
    if not sources:
        what = "nothing readable among what matches" if paths else "no such file, and nothing matches it as a pattern"
        raise InputError(f"{pattern}: {what}")
    return sources


def _readable(paths: list[Path]) -> Iterator[Source]:
    for path in paths:
        if path.is_file() and path.name not in _METADATA and (source := _file(path)):
            yield source


def _file(path: Path) -> Source | None:
    format_, compression = _format(path)
    return Source(str(path), path, format_, compression) if format_ else None


def _format(path: Path) -> tuple[str, str | None]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSED else None
    format_ = _FORMATS.get(suffixes[-1], "") if suffixes else ""
    if compression and format_ not in _MAY_BE_COMPRESSED:
        return "", None
    return format_, compression


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)
