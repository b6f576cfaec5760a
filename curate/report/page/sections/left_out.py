"""The account of rows, and why some could not be used."""

from curate.report.page.folder import Folder
from curate.report.page.render import Section, filled

CAUSES = {
    "rows_pool": "in the pool",
    "rows_rejected": "rejected",
    "rows_duplicate": "duplicates",
    "rows_near_duplicate": "near-duplicates",
    "rows_contaminated": "contaminated",
    "rows_over_cap": "over the cap of their source",
}


def section(folder: Folder) -> Section | None:
    """Rows in as a sum, and the rejected ones by reason."""
    if folder.overview is None:
        return None
    account, reasons = folder.overview["account"], folder.overview["left_out"]
    parts = [(name, account[key]) for key, name in CAUSES.items() if account.get(key) or key in ("rows_pool", "rows_rejected")]
    html = filled("left_out", account=account, parts=parts, reasons=reasons)
    return Section("left-out", "Rows left out", "Left out", html)
