"""What `curate store ls | du | gc | verify` do: functions over the files of a store, without models or pools."""

import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate import progress
from curate.errors import CurateError, InputError
from curate.files import is_temporary, left_over, temporary_name
from curate.store.checks import Damaged, check_folder, read_spec, unseal
from curate.store.references import Reference, references
from curate.store.rows import open_shard, shard_files, shard_rows
from curate.store.store import KINDS, Store

RECENT = 60.0  # seconds: what was used within them is never collected, whatever is asked for


@dataclass(frozen=True)
class Artifact:
    """One artifact as it lies on disk. `spec` is None where it is missing or damaged, `rows` where they are not countable."""

    kind: str
    address: str
    folder: Path
    spec: Mapping[str, Any] | None
    rows: int | None
    bytes: int
    used: float  # seconds since the epoch

    @property
    def name(self) -> str:
        """kind/address, as manifests list it."""
        return f"{self.kind}/{self.address}"


def artifacts(store: Store) -> list[Artifact]:
    """All artifacts, by kind and address."""
    found = []
    for kind in KINDS:
        for folder in store.folders(kind):
            spec = None
            with suppress(Damaged, OSError):
                spec = read_spec(folder)
            with suppress(FileNotFoundError):  # removed by another process meanwhile
                found.append(Artifact(kind, folder.name, folder, spec, _rows(kind, folder), size(folder), folder.stat().st_mtime))
    return found


def _rows(kind: str, folder: Path) -> int | None:
    if kind == "rows":
        return sum({name.split("-")[1]: shard_rows(name) for name in shard_files(folder) if name.count("-") == 3}.values())
    file = folder / "rows.txt"
    return len(file.read_text().split()) if file.is_file() else None


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if not path.is_dir():
        return path.lstat().st_size
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total


def labels(there: Sequence[Artifact], referring: Sequence[Reference]) -> dict[str, str]:
    """Names of models by the fingerprint of their weights and of their tokenizer, as the manifests have them, and of fits by
    their address."""
    found = {}
    for reference in referring:
        model, encoding = ((reference.manifest or {}).get(key) for key in ("model", "encoding"))
        if isinstance(model, Mapping) and isinstance(encoding, Mapping):
            found[str(encoding.get("tokenizer"))] = f"the tokenizer of {Path(str(model.get('name'))).name}"
        for key in ("model", "scorer_model"):
            model = (reference.manifest or {}).get(key)
            if isinstance(model, Mapping) and {"name", "fingerprint"} <= set(model):
                found[str(model["fingerprint"])] = Path(str(model["name"])).name
    return found | {item.address: f"the {describe(item.spec, found)}" for item in there if item.kind == "fits"}


def describe(spec: Mapping[str, Any] | None, names: Mapping[str, str]) -> str:
    """An artifact in a few words for a person. names: labels of models by fingerprint."""
    if spec is None:
        return "unknown"
    model, _, checkpoint = str(spec.get("model", "")).partition("/")
    who = names.get(model, model[:8]) + (f" at checkpoint {checkpoint}" if checkpoint else "")
    match spec.get("kind"):
        case "encoding":
            tokenizer = str(spec.get("tokenizer", ""))
            return f"token ids by {names.get(tokenizer, f'tokenizer {tokenizer[:8]}')}, up to {spec.get('max_length')} tokens"
        case "weights":
            return f"token weights of {describe({**spec.get('encoding', {}), 'kind': 'encoding'}, names)}"
        case "observable":
            view = str(next(iter(spec.get("view") or ["conversation"])))
            return f"{spec.get('observable')}{_where(view)} by {who}, {spec.get('dtype')}"
        case "embedding":
            return f"embedding{_where(str(spec.get('view')))} by {who}"
        case "judgement":
            return f"answers to questions by {who}, {spec.get('dtype')}"
        case "gradient":
            return f"gradients by {who}, {spec.get('dtype')}"
        case "tfidf":
            return f"tfidf:{spec.get('dimensions')}{_where(str(spec.get('view')))}"
        case "fit":
            return f"fit of {who}, {_length(spec.get('recipe'))}"
        case "arm":
            tasks = ", ".join(str(task[0]) for task in spec.get("tasks", ()))
            return f"{who}, {_length(spec.get('recipe'))}, on {tasks}"
        case "plan":
            return f"plan of a search over {', '.join(map(str, spec.get('methods', ())))} by {who}"
        case kind:
            return str(kind)


def _where(view: str) -> str:
    return "" if view == "conversation" else f" of the {view.replace('_', ' ')}"


def _length(recipe: Mapping[str, Any] | None) -> str:
    if recipe is None:
        return "untrained"
    unit = next((unit for unit in ("tokens", "steps", "epochs") if recipe.get(unit)), None)
    amount = f"{recipe[unit]:,g} {unit[:-1] if recipe[unit] == 1 else unit}" if unit else "trained"
    return f"{amount}, seed {recipe.get('seed', 0)}"  # a spec leaves out what is by default


# gc -------------------------------------------------------------------------------------------------------------------


def seconds_in(text: str) -> float:
    """A length of time as people write it: 30m, 12h, 7d. Raises InputError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if match is None:
        raise InputError(f"{text!r} is not a length of time; write 30m, 12h or 7d")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3_600, "d": 86_400}[match[2]]


@dataclass(frozen=True)
class Garbage:
    """What gc would remove, and why."""

    path: Path
    what: str
    bytes: int
    why: str


@dataclass(frozen=True)
class Collection:
    """What gc found: what can go, what stays and why, and the manifests that are gone."""

    garbage: list[Garbage]
    referred: int  # artifacts that a manifest refers to
    recent: int  # artifacts that none refers to, but used within the time asked for
    forgotten: list[Path]  # manifests that were made from this store and are gone

    @property
    def bytes(self) -> int:
        return sum(item.bytes for item in self.garbage)


def collect(store: Store, older_than: float = 86_400.0) -> Collection:
    """What no manifest refers to and nobody has used for `older_than` seconds (at least a minute). Removes nothing.

    A manifest refers to the artifacts it lists, and to the fits that these were computed with. Raises Damaged for a
    reference that cannot be trusted.
    """
    known = list(references(store.root))
    there = artifacts(store)
    referred = _closure({name for reference in known for name in reference.artifacts}, there)
    edge = time.time() - max(older_than, RECENT)
    unreferred = [item for item in there if item.name not in referred]
    names = labels(there, known)
    old = [item for item in unreferred if item.used <= edge]
    garbage = [Garbage(item.folder, describe(item.spec, names), item.bytes, "no manifest refers to it") for item in old]
    garbage += [Garbage(path, path.name, size(path), "left over by a process that is gone") for path in _temporary(store.root)]
    gone = [reference for reference in known if reference.manifest is None]
    stale = [reference.file for reference in gone if reference.file.stat().st_mtime <= edge]
    garbage += [Garbage(path, "reference", size(path), "its manifest is gone") for path in stale]
    garbage += [Garbage(path, "hash", size(path), "its model file is gone") for path in _stale_hashes(store)]
    recent = sum(item.used > edge for item in unreferred)
    return Collection(garbage, len(there) - len(unreferred), recent, [reference.path for reference in gone])


def _closure(names: set[str], there: Sequence[Artifact]) -> set[str]:
    """With what a fit's model, or one of its checkpoints, computed goes the fit."""
    fits = {item.address: item.name for item in there if item.kind == "fits"}
    models = {str(item.spec.get("model")).partition("/")[0] for item in there if item.name in names and item.spec is not None}
    return names | {fits[model] for model in models if model in fits}


def _temporary(root: Path) -> list[Path]:
    return sorted(path for pattern in (".*.tmp", "*/.*.tmp", "*/*/.*.tmp") for path in root.glob(pattern) if left_over(path))


def _stale_hashes(store: Store) -> list[Path]:
    found = []
    for path in sorted((store.root / "hashes").glob("*.json")):
        with suppress(Damaged, FileNotFoundError):
            if not os.path.exists(unseal(path)["file"].rsplit("|", 2)[0]):
                found.append(path)
    return found


def remove(garbage: Sequence[Garbage]) -> int:
    """Remove it, but for artifacts that were used since it was looked at; the bytes that were freed."""
    freed = 0
    for item in garbage:
        with suppress(FileNotFoundError):  # another process was here first
            if not is_temporary(item.path) and item.path.is_dir() and item.path.stat().st_mtime > time.time() - RECENT:
                continue
            discard(item.path)
            freed += item.bytes
    return freed


def discard(path: Path) -> None:
    """Remove a file or a folder; a folder is out of the way at once, whatever happens while it is emptied."""
    if not path.is_dir():
        path.unlink()
        return
    aside = path if is_temporary(path) else temporary_name(path)
    os.rename(path, aside)
    shutil.rmtree(aside)


# verify ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verified:
    """What verify found: how much was read, and each damaged file with what has to go for it."""

    artifacts: int
    bytes: int
    damaged: list[tuple[Damaged, Path]]


def verify(store: Store) -> Verified:
    """Read every file of the store and hold it against its checksum."""
    there = artifacts(store)
    files = [path for kind in ("hashes", "refs") for path in sorted((store.root / kind).glob("*.json"))]
    damaged: list[tuple[Damaged, Path]] = []
    total = sum(item.bytes for item in there)
    with progress.task("verify the store", total, "bytes") as advance:
        for item in there:
            damaged += _damage(item)
            advance(item.bytes)
        for path in files:
            try:
                unseal(path)
            except FileNotFoundError:
                pass
            except Damaged as error:
                damaged.append((error, path))
    return Verified(len(there), total, damaged)


def _damage(item: Artifact) -> Iterator[tuple[Damaged, Path]]:
    checks = [] if item.kind != "rows" else [item.folder / name for name in sorted(shard_files(item.folder))]
    for path in checks:
        try:
            open_shard(path)
        except CurateError as error:
            if isinstance(error, Damaged):  # otherwise it was removed meanwhile
                yield error, path
    whole = item.folder if item.kind != "rows" else item.folder / "spec.json"
    try:
        if item.kind != "rows" or whole.exists():
            read_spec(item.folder)
        if item.kind != "rows":
            check_folder(item.folder)
    except FileNotFoundError as error:
        if item.folder.exists():
            yield Damaged(Path(error.filename), "it is missing"), whole
    except Damaged as error:
        if item.folder.exists():
            yield error, whole


def repair(found: Verified) -> None:
    """Remove what is damaged, so that it is computed again: a shard alone, a fit or an arm as a whole."""
    for path in dict.fromkeys(path for _, path in found.damaged):
        with suppress(FileNotFoundError):
            discard(path)


def remaining(store: Store) -> Verified:
    """What lies in the store, not read again."""
    there = artifacts(store)
    return Verified(len(there), sum(item.bytes for item in there), [])
