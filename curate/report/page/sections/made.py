"""How the results came about."""

from typing import Any

from curate.report.page.folder import Folder
from curate.report.page.render import Section, filled

FILES = 6  # of the pool that are named


def section(folder: Folder) -> Section | None:
    """Models, files, versions and the command, from the manifest."""
    found = folder.manifest
    if not isinstance(found, dict):
        return None
    facts: list[tuple[str, str]] = []
    for key, name in (("model", "model"), ("scorer_model", "scored by")):
        if isinstance(found.get(key), dict):
            facts.append((name, _last(found[key].get("name"))))
    files = (found.get("pool") or {}).get("files") or []
    if files:
        more = f" and {len(files) - FILES:,} more" if len(files) > FILES else ""
        facts.append(("pool", ", ".join(map(_last, files[:FILES])) + more))
    if found.get("verdicts"):
        facts.append(("concluded from", ", ".join(map(str, found["verdicts"]))))
    facts += [(key, str(found[key])) for key in ("seed", "embedder", "command") if found.get(key) is not None]
    if isinstance(found.get("curate"), dict):
        facts.append(("versions", ", ".join(f"{name} {version}" for name, version in found["curate"].items())))
    return Section("made", "How this was made", "Made by", filled("made", facts=facts)) if facts else None


def _last(path: Any) -> str:
    return str(path).rstrip("/").rpartition("/")[2]
