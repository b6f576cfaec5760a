"""Which manifests refer to a store: what they list is never collected."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.files import atomic_file, final_path
from curate.store.checks import address, sealed, unseal


@dataclass(frozen=True)
class Reference:
    """A manifest that was made from a store. `manifest` is None once that file is gone or is no longer one of ours."""

    file: Path
    path: Path
    manifest: Mapping[str, Any] | None
    artifacts: tuple[str, ...]  # kind/address


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write a manifest as JSON; the store that it names under `store` (`Store.provenance`) takes down where it lies.

    The reference comes first, so that there is no moment at which a manifest exists that the store does not know of.
    """
    made = manifest.get("store")
    if made is not None:
        where = str(final_path(path))
        reference = Path(made["folder"]) / "refs" / f"{address({'path': where})}.json"
        # A store that can be read alone cannot be collected from here either.
        with suppress(PermissionError), atomic_file(reference) as file:
            file.write_text(sealed({"manifest": where, "artifacts": made["artifacts"]}))
    path.write_text(json.dumps(manifest, indent=1, default=str) + "\n")


def references(root: Path) -> Iterator[Reference]:
    """What the store in this folder knows of. Raises Damaged for a reference that does not hold what was written."""
    for file in sorted((root / "refs").glob("*.json")):
        try:
            kept = unseal(file)
        except FileNotFoundError:
            continue
        path = Path(kept["manifest"])
        manifest = _read(path, kept)
        listed = () if manifest is None else tuple(manifest["store"]["artifacts"])
        yield Reference(file, path, manifest, listed)


def _read(path: Path, kept: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The manifest as it is now: None when it is gone or another file has taken its place.

    What cannot be read counts as it was when it was written: it may be a colleague's.
    """
    as_written = {"store": {"artifacts": kept["artifacts"]}}
    try:
        manifest = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        return as_written
    try:
        listed = manifest["store"]["artifacts"]
    except (KeyError, TypeError, IndexError):
        return None
    return manifest if isinstance(listed, list) else None
