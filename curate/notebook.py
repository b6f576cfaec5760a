"""What Jupyter shows of selections, scores and verdicts."""

from typing import TYPE_CHECKING

import numpy as np

from curate.comparison.tables import COLUMNS, NUMBERS, table_row, tables
from curate.html import escaped, exchange, list_html, page_html, table_html
from curate.wording import account_of, counted

if TYPE_CHECKING:
    from curate.comparison.verdict import Verdict
    from curate.scoring import Scores
    from curate.selection import Selection

ROWS = 10  # that a table shows


def selection_html(selection: "Selection") -> str:
    """What was picked by what, and the first picks with their words."""
    summary, frame = selection.summary, selection.frame
    lines = [
        [pick["rank"], pick["score"], pick["reason"], *exchange(selection.pool, at)]
        for pick, at in zip(frame.head(ROWS).iter_rows(named=True), selection.positions.tolist(), strict=False)
    ]
    of = f"{len(frame):,} of {counted(summary['rows_pool'])}"
    title = f"{of} by {summary['method']} at {summary['budget']}, {summary['order']}"
    null = [f"{counted(summary['rows_null'])} without a score"] if summary["rows_null"] else []
    notes = [*null, *summary["remarks"], *filter(None, [summary["shortfall"]]), *selection.manifest["notes"]]
    return page_html(title, account_of(summary), ["rank", "score", "reason", "asked", "reply"], lines, len(frame), notes)


def scores_html(scores: "Scores") -> str:
    """How many rows have a score by each method, and the rows that the first method prefers."""
    frame = scores.frame
    order = np.argsort(-np.nan_to_num(scores.preferences[scores.methods[0]], nan=-np.inf), kind="stable")[:ROWS]
    lines = []
    for i in order.tolist():
        row = frame.row(i, named=True)
        lines.append([row["source"], row["tokens"], *(row[name] for name in scores.methods), *exchange(scores.pool, i)])
    without = [f"{name}: {counted(null)} without a score" for name in scores.methods if (null := frame[name].null_count())]
    columns = ["source", "tokens", *scores.methods, "asked", "reply"]
    said = f"{account_of(scores.counts)}; by {scores.methods[0]}, the preferred first"
    return page_html(
        f"Scores of {counted(len(frame))}", said, columns, lines, len(frame), [*without, *scores.manifest["remarks"]]
    )


def verdict_html(verdict: "Verdict") -> str:
    """The headline, a table of arms for each evaluation set, and what the answers rest on."""
    parts = [f"<p><strong>{escaped(verdict.headline)}</strong></p>"]
    for title, arms in tables(verdict.arms):
        rows = [table_row(arm) for arm in arms]
        parts += [f"<p>{escaped(title)}</p>", table_html(COLUMNS, [[row[name] for name in COLUMNS] for row in rows], NUMBERS)]
    return "<div>" + "".join(parts) + list_html(verdict.remarks) + "</div>"
