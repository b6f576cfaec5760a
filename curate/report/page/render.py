"""Templates: everything that is put into one is escaped, and freed of hidden characters first."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from markupsafe import Markup

from curate.report.page.text import plain


@dataclass(frozen=True)
class Section:
    """A part of the page: an anchor, a title for the heading, a short one for the table of contents, and its HTML."""

    anchor: str
    title: str
    short: str
    html: Markup


@cache
def _templates() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=PackageLoader("curate.report.page"), autoescape=True, undefined=StrictUndefined, finalize=plain,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    found.filters["number"] = lambda value: f"{value:,}"
    found.filters["share"] = lambda value: f"{value:.1%}" if value < 0.1 else f"{value:.0%}"
    return found


def filled(template: str, **values: Any) -> Markup:
    """A template of this package with values in it."""
    return Markup(_templates().get_template(f"{template}.html.jinja").render(**values))
