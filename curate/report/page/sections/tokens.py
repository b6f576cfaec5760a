"""Selections of tokens, token by token."""

from curate.report.page.folder import Folder
from curate.report.page.render import Section, filled


def section(folder: Folder) -> Section | None:
    """Some picks of each method that chooses tokens, the dropped ones struck through."""
    found = (folder.overview or {}).get("tokens", ())
    if not found:
        return None
    return Section("tokens", "Tokens that count", "Tokens", filled("tokens", shown=found, colour=folder.colour))
