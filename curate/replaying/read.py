"""The record of a call in an output folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.asked import RECORD
from curate.errors import InputError

MANIFESTS = ("manifest.json", "training.json")
SEARCH = "auto.json"  # in the folder of a search
VERBS = ("select", "score", "compare", "conclude", "observe", "embed", "evaluate", "train", "run_recipe")


@dataclass(frozen=True)
class Record:
    """What a manifest says of the call that made its folder. moved: where folders named in it lie now, by their old paths."""

    folder: Path
    manifest: Mapping[str, Any]
    asked: Mapping[str, Any]
    moved: Mapping[str, str]

    @property
    def verb(self) -> str:
        return str(self.asked["verb"])

    def path(self, text: str) -> str:
        """A path of the record as it is now."""
        for old, new in sorted(self.moved.items(), key=lambda pair: -len(pair[0])):
            if Path(text).is_relative_to(old):
                return str(Path(new) / Path(text).relative_to(old))
        return text


def read_record(folder: str | Path, moved: Mapping[str, str]) -> Record:
    """The record of a folder. Raises InputError for a folder without one, saying why it has none."""
    path = Path(folder)
    if not path.is_dir():
        raise InputError(f"there is no folder {folder}")
    file = next((path / name for name in MANIFESTS if (path / name).is_file()), None)
    if file is None:
        raise InputError(f"{folder} is not an output folder of curate: there is no {' or '.join(MANIFESTS)} in it")
    try:
        manifest = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read: {error}") from None
    found = manifest.get("replay") if isinstance(manifest, dict) else None
    above = path.absolute().parent
    if (above / MANIFESTS[0]).is_file() and _verb(above / MANIFESTS[0]) == "run_recipe":
        raise InputError(f"{folder} is a stage of a recipe, and is replayed with the whole of it: curate replay {above}")
    if (path / SEARCH).is_file():
        raise InputError(
            f"{folder} is of a search, which is not replayed: how far it came hung on the machine's speed; "
            "run the same `curate auto` again, which has its arms in the store"
        )
    if not isinstance(found, dict) or "verb" not in found:
        raise InputError(f"{file} does not say how to make its folder again: another version of curate wrote it")
    if found.get("record") != RECORD:
        raise InputError(f"{file} is a record of version {found.get('record')!r}, and this curate reads version {RECORD}")
    if found["verb"] not in VERBS or not isinstance(found.get("arguments"), dict):
        raise InputError(f"the record in {file} is not of a verb that can be done again: {found['verb']!r}")
    return Record(path, manifest, found, moved)


def _verb(manifest: Path) -> str | None:
    try:
        found: str = json.loads(manifest.read_bytes())["replay"]["verb"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return found
