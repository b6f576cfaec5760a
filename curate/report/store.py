"""The store as a person reads it: what lies there, how much it takes, what can go, what is damaged."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from curate.report.table import show_table
from curate.store import Store
from curate.store.references import references
from curate.store.store import KINDS
from curate.store.verbs import Collection, Verified, artifacts, describe, labels
from curate.wording import counted


def listing(store: Store) -> list[dict[str, Any]]:
    """A dict per artifact, by kind, the last used first: artifact (kind/address), what, rows (null where not countable), bytes,
    age, manifests.

    age is seconds since it was last used; manifests are the paths of those that list it.
    """
    there, referring = artifacts(store), list(references(store.root))
    names = labels(there, referring)
    by_name: dict[str, list[str]] = defaultdict(list)
    for reference in referring:
        for name in reference.artifacts:
            by_name[name].append(str(reference.path))
    return [
        {
            "artifact": item.name,
            "what": describe(item.spec, names),
            "rows": item.rows,
            "bytes": item.bytes,
            "age": max(0.0, time.time() - item.used),
            "manifests": by_name[item.name],
        }
        for item in sorted(there, key=lambda item: (KINDS.index(item.kind), -item.used))
    ]


def usage(store: Store) -> dict[str, dict[str, int]]:
    """Artifacts and bytes by kind, and in `all`."""
    kinds: dict[str, dict[str, int]] = {}
    for item in artifacts(store):
        for kind in (item.kind, "all"):
            found = kinds.setdefault(kind, {"artifacts": 0, "bytes": 0})
            found["artifacts"] += 1
            found["bytes"] += item.bytes
    return {
        **{kind: found for kind, found in kinds.items() if kind != "all"},
        "all": kinds.get("all", {"artifacts": 0, "bytes": 0}),
    }


def show_listing(console: Console, found: Sequence[Mapping[str, Any]]) -> None:
    """A table of artifacts."""
    rows = [
        [
            line["artifact"].split("/")[0],
            line["what"],
            "" if line["rows"] is None else f"{line['rows']:,}",
            amount(line["bytes"]),
            f"{age(line['age'])} ago",
            len(line["manifests"]) or "none",
        ]
        for line in found
    ]
    columns = ("kind", "what", "rows", "size", "last used", "manifests")
    console.print(show_table("", columns, rows, right=columns[2:]) if rows else "nothing is in the store")


def show_usage(console: Console, found: Mapping[str, Mapping[str, int]], where: str) -> None:
    """A table of kinds."""
    rows = [[kind, f"{line['artifacts']:,}", amount(line["bytes"])] for kind, line in found.items()]
    console.print(show_table(where, ("kind", "artifacts", "size"), rows, right=("artifacts", "size")))


def show_collection(console: Console, found: Collection, freed: int | None) -> None:
    """What gc would remove, or has. freed: bytes, None when nothing was removed."""
    if found.garbage:
        rows = [[item.path.parent.name, item.what, amount(item.bytes), item.why] for item in found.garbage]
        console.print(show_table("", ("kind", "what", "size", "why"), rows, right=("size",)))
    for path in found.forgotten:
        console.print(f"gone  {path}", highlight=False, markup=False, soft_wrap=True)
    stay = counted(found.referred, "artifact")
    stays = f"a manifest refers to {stay}, {found.recent:,} more were used lately: they stay"
    if not found.garbage:
        done = "nothing to remove"
    elif freed is None:
        done = f"would remove {amount(found.bytes)} (--yes does it)"
    else:
        done = f"removed {amount(freed)}"
    console.print(f"{done}; {stays}", highlight=False)


def collection_as_json(found: Collection, freed: int | None) -> dict[str, Any]:
    """What gc found, for machines. removed is in bytes, null when nothing was removed."""
    return {
        "garbage": [{"path": str(item.path), "what": item.what, "bytes": item.bytes, "why": item.why} for item in found.garbage],
        "bytes": found.bytes,
        "removed": freed,
        "referred": found.referred,
        "recent": found.recent,
        "manifests_gone": [str(path) for path in found.forgotten],
    }


def verified_as_json(found: Verified, left: Verified | None = None) -> dict[str, Any]:
    """What verify found, for machines. left: what lies there after the repair, None where none was asked for."""
    damaged = [{"file": str(error.path), "why": error.why, "goes": str(path)} for error, path in found.damaged]
    remains = left and {"artifacts": left.artifacts, "bytes": left.bytes}
    counts = {"artifacts": found.artifacts, "bytes": found.bytes}
    return {**counts, "damaged": damaged, "repaired": left is not None, "left": remains}


def show_verified(console: Console, found: Verified, left: Verified | None = None) -> None:
    """Each damaged file with what is wrong, then the sum. left: as for `verified_as_json`."""
    for error, path in found.damaged:
        gone = f"; removed {path}" if left else ""
        console.print(f"damaged  {error.path} ({error.why}){gone}", highlight=False, markup=False, soft_wrap=True)
    said = "none damaged"
    if found.damaged:
        files = counted(len(found.damaged), "damaged file")
        them, they = ("it", "it is") if len(found.damaged) == 1 else ("them", "they are")
        said = f"{files}; --repair removes {them}, and {they} computed again"
        if left:
            verb = "is" if left.artifacts == 1 else "are"
            said = f"{files} removed; left {verb} {counted(left.artifacts, 'artifact')}, {amount(left.bytes)}"
    console.print(f"{counted(found.artifacts, 'artifact')}, {amount(found.bytes)} read, {said}", highlight=False, soft_wrap=True)


def amount(count: int) -> str:
    """Bytes as a person writes them: 312 B, 4.1 kB, 1.2 GB."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def age(seconds: float) -> str:
    """Seconds as an age: 12 s, 3 min, 2 h, 5 days."""
    for most, unit, name in ((120, 1, "s"), (7_200, 60, "min"), (172_800, 3_600, "h")):
        if seconds < most:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86_400:.0f} days"
