"""The rungs of `curate auto`, where a folder has them."""

from typing import Any

from curate.report.page.folder import Folder
from curate.report.page.render import Section, filled


def section(folder: Folder) -> Section | None:
    """A plain table of the rungs of auto.json: its list of objects under `rungs`, a column for each plain value."""
    rungs = folder.auto.get("rungs") if isinstance(folder.auto, dict) else None
    lines = [rung for rung in rungs or () if isinstance(rung, dict)]
    if not lines:
        return None
    columns = list(dict.fromkeys(name for line in lines for name, value in line.items() if _is_plain(value)))
    cells = [[_text(line.get(name)) for name in columns] for line in lines]
    return Section("rungs", "How the methods were narrowed down", "Rungs", filled("auto", columns=columns, cells=cells))


def _is_plain(value: Any) -> bool:
    parts = value if isinstance(value, list) else [value]
    return all(part is None or isinstance(part, str | int | float) for part in parts)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else f"{value:,.4g}" if isinstance(value, float) else str(value)
