"""The sections of a page, one file each, in the order in which they are read. Each gives None where a folder has none of it."""

from collections.abc import Callable

from curate.report.page.folder import Folder
from curate.report.page.render import Section
from curate.report.page.sections import (
    against,
    arms,
    auto,
    budgets,
    examples,
    gain,
    kept,
    left_out,
    likeness,
    made,
    maps,
    masks,
    scores,
    summary,
    tokens,
)

SECTIONS: tuple[Callable[[Folder], Section | None], ...] = (
    summary.section,
    arms.section,
    auto.section,
    budgets.section,
    against.section,
    gain.section,
    scores.section,
    kept.section,
    likeness.section,
    maps.section,
    examples.section,
    tokens.section,
    masks.section,
    left_out.section,
    made.section,
)
