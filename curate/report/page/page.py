"""The page: its sections in order, and the frame around them."""

from importlib.resources import files
from pathlib import Path

from markupsafe import Markup

from curate.files import atomic_file
from curate.report.page.folder import Folder
from curate.report.page.render import filled
from curate.report.page.sections import SECTIONS

FILE = "report.html"


def render(path: str | Path) -> str:
    """The page about an output folder, as one HTML document. Raises InputError where there is nothing to show."""
    folder = Folder.read(Path(path))
    parts = [part for section in SECTIONS if (part := section(folder)) is not None]
    style = Markup((files("curate.report.page") / "templates" / "style.css").read_text(encoding="utf-8"))
    return str(filled("page", title=_title(folder), parts=parts, style=style))


def write_report(path: str | Path, out: str | Path | None = None) -> Path:
    """Write the page about an output folder, by default as report.html inside; gives where it lies.

    Raises InputError where there is nothing to show, OSError where it cannot be written.
    """
    target = Path(path) / FILE if out is None else Path(out)
    text = render(path)
    with atomic_file(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return target


def _title(folder: Folder) -> str:
    if folder.verdict is not None:
        return "Does the selection beat random?"
    picked = list((folder.overview or {}).get("picks", ()))
    return f"A selection by {picked[0]}" if len(picked) == 1 else "Scores of a pool"
