"""Checksums: how a flipped bit anywhere in the store is found."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import xxhash

from curate.errors import CurateError

SUMS = "checksums.json"  # in the folder of a fit or an arm: the checksum of every other file there


class Damaged(CurateError):
    """A file of the store does not hold what was written there."""

    def __init__(self, path: Path, why: str) -> None:
        self.path, self.why = path, why
        super().__init__(
            f"the store's file {path} is damaged ({why}); `curate store verify --repair` removes it, "
            "and what it held is computed again"
        )


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


def checksum(data: Any) -> str:
    """32 hex digits of the content (bytes or any buffer)."""
    return xxhash.xxh3_128_hexdigest(data)


def checksum_file(path: Path) -> str:
    """The checksum of a file of any size."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def canonical(value: Any) -> str:
    """The one way a value is written as JSON here, so that a changed byte changes the value or is seen."""
    return json.dumps(value, indent=1, sort_keys=True)


def parse(path: Path) -> Any:
    """What a file of canonical JSON holds. Raises Damaged when it is anything else, OSError when it cannot be read."""
    data = path.read_bytes()
    try:
        value = json.loads(data)
    except ValueError:
        raise Damaged(path, "it is not JSON") from None
    if canonical(value).encode() != data:
        raise Damaged(path, "it is not as it was written")
    return value


def read_spec(folder: Path) -> dict[str, Any]:
    """The spec of an artifact. Raises Damaged when it is not the one that its address was made from."""
    spec = parse(folder / "spec.json")
    if not isinstance(spec, dict) or address(spec) != folder.name:
        raise Damaged(folder / "spec.json", "it does not match the folder's name")
    return spec


def sealed(value: Mapping[str, Any]) -> str:
    """A mapping as text that carries its own checksum; see `unseal`."""
    return canonical({**value, "checksum": address(value)})


def unseal(path: Path) -> dict[str, Any]:
    """The mapping in a sealed file. Raises Damaged when a byte of it has changed, OSError when it cannot be read."""
    value = parse(path)
    if not isinstance(value, dict) or value.pop("checksum", None) != address(value):
        raise Damaged(path, "its checksum is another")
    return value


def seal_folder(folder: Path) -> None:
    """Write the checksums of all files in a folder beside them."""
    (folder / SUMS).write_text(canonical(_sums(folder)))


def check_folder(folder: Path, largest: int | None = None) -> None:
    """Raise Damaged, naming the file, when a folder is not what `seal_folder` saw. Files above `largest` bytes are passed by."""
    try:
        wanted = parse(folder / SUMS)
    except FileNotFoundError:
        raise Damaged(folder / SUMS, "it is missing") from None
    for name, (size, sum) in wanted.items():
        path = folder / name
        if not path.is_file():
            raise Damaged(path, "it is missing")
        if path.stat().st_size != size:
            raise Damaged(path, "its size is another")
        if (largest is None or size <= largest) and checksum_file(path) != sum:
            raise Damaged(path, "its checksum is another")
    if largest is None:
        for name in sorted(_files(folder) - set(wanted)):
            raise Damaged(folder / name, "it was put there later")


def _sums(folder: Path) -> dict[str, list[Any]]:
    return {name: [(folder / name).stat().st_size, checksum_file(folder / name)] for name in sorted(_files(folder))}


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {SUMS}
