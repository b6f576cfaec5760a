"""The table of the verdict: every arm on every evaluation set."""

from collections.abc import Mapping, Sequence
from typing import Any

from curate.comparison.tables import lower_is_better, table_row, tables
from curate.report.page.folder import Folder
from curate.report.page.render import Section, filled
from curate.report.page.scales import reach

TESTED = ("control", "method")


def section(folder: Folder) -> Section | None:
    """A table for each evaluation set, the primary one open, and what the numbers rest on."""
    if folder.verdict is None:
        return None
    sets: list[dict[str, Any]] = [
        {"title": title, "lower": lower_is_better(arms[0]["metric"]), "arms": _lines(arms)}
        for title, arms in tables(folder.verdict["arms"])
    ]
    matched = any(line["text"]["vs as long"] for line in sets[0]["arms"])
    html = filled("arms", sets=sets, matched=matched, remarks=folder.verdict["remarks"], colour=folder.colour,
                  confidence=folder.verdict["config"]["confidence"])  # fmt: skip
    return Section("table", "Every arm", "Table", html)


def _lines(arms: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The arms with their texts and, of those with an interval, where it lies in a cell from 0 to 100."""
    far = reach([arm for arm in arms if arm["kind"] in TESTED])
    place = lambda value: 50 + 50 * max(-1.0, min(1.0, value / far))  # noqa: E731
    lines: list[dict[str, Any]] = []
    for arm in arms:
        known = arm["diff_from_random"] is not None and arm["ci_low"] is not None
        bar = None
        if known:
            low, high = place(arm["ci_low"]), place(arm["ci_high"])
            beyond = abs(arm["diff_from_random"]) > far
            bar = {"left": low, "width": high - low, "dot": place(arm["diff_from_random"]), "beyond": beyond}
        half = f"±{(arm['ci_high'] - arm['ci_low']) / 2:.3f}" if known else ""
        first = arm["kind"] not in ("full", "ceiling", "untrained", "second rate")
        opens = bool(lines) and lines[-1]["compared"] and arm["budget"] != lines[-1]["arm"]["budget"]
        lines.append({"arm": arm, "text": table_row(arm), "bar": bar, "half": half, "compared": first, "opens": opens})
    return lines
