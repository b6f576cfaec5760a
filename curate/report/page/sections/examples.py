"""Conversations that each method kept and dropped."""

from curate.report.page.folder import Folder
from curate.report.page.render import Section, filled


def section(folder: Folder) -> Section | None:
    """For each method a few of its picks and of the rows it left, each with why and, for these, its nearest kept neighbour."""
    found = {one["method"]: one for one in (folder.overview or {}).get("examples", ())}
    shown = [found[name] for name in folder.methods if name in found]
    if not shown:
        return None
    return Section("examples", "Kept and dropped", "Examples", filled("examples", shown=shown, colour=folder.colour))
