"""Scores and observables as a person reads them: their spread, what they share with length, how planted truth judges them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text
from scipy.stats import spearmanr

from curate.observation import Observed
from curate.report.table import show_table
from curate.report.truth import show_auroc, show_picks_truth
from curate.scoring import Scores
from curate.truth import Judged
from curate.wording import account_of

WITH_LENGTH = "with length: rank correlation (Spearman) of a score with the reply's tokens, from -1 to +1"


def show_scores(console: Console, scores: Scores, judged: Judged | None, out: str) -> None:
    """Quantiles of each score, its rank correlation with the reply's length, and the planted-truth tables."""
    console.print(
        "\n".join([account_of(scores.counts), *scores.manifest["remarks"], *scores.manifest["notes"]]),
        highlight=False,
        markup=False,
    )
    console.print(_spread("method", "scored", scores.frame, scores.methods))
    console.print(Text(WITH_LENGTH, style="dim"))
    if judged is not None:
        console.print(show_auroc(judged.scores))
        if judged.picks is not None:
            console.print(show_picks_truth(judged.picks, judged.groups))
    console.print(f"written {out}", highlight=False)


def show_observed(observed: Observed) -> Group:
    """The same of observables; of lists and vectors how long they are."""
    known = ("row_id", "source", "tokens", "response_tokens", "file", "line", "id")
    names = [name for name in observed.frame.columns if name not in known and not name.endswith("_null")]
    return Group(_spread("observable", "rows", observed.frame, names), Text(WITH_LENGTH, style="dim"))


def _spread(what: str, there: str, frame: pl.DataFrame, names: Sequence[str]) -> Table:
    length = frame["response_tokens"].to_numpy()
    rows: list[list[Any]] = []
    for name in names:
        column = frame[name]
        counts = [name, f"{len(column) - column.null_count():,}", f"{column.null_count():,}"]
        if not column.dtype.is_numeric():
            width = getattr(column.dtype, "size", None)
            rows.append([*counts, *[""] * 4, f"{width:,} numbers a row" if width else "a number a token"])
            continue
        values = column.to_numpy().astype(np.float64)
        here = ~np.isnan(values)
        quantiles = [f"{q:.4g}" for q in np.quantile(values[here], [0.05, 0.5, 0.95])] if here.any() else ["-"] * 3
        varies = here.sum() > 1 and np.ptp(values[here]) > 0 and np.ptp(length[here]) > 0
        rho = f"{spearmanr(values[here], length[here]).statistic:+.2f}" if varies else "-"
        rows.append([*counts, *quantiles, rho, ""])
    columns = [what, there, "null", "5%", "median", "95%", "with length", ""]
    if not any(row[-1] for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return show_table("", columns, rows, right=columns[1:7])
