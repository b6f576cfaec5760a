"""Loss masks: what of a conversation is learned."""

from curate.report.page.folder import Folder
from curate.report.page.render import Section, filled


def section(folder: Folder) -> Section | None:
    """A few conversations as the model's chat template prints them."""
    found = (folder.overview or {}).get("masks", ())
    return Section("masks", "What is learned of a conversation", "Loss masks", filled("masks", shown=found)) if found else None
