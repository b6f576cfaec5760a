"""Scores as a person reads them: their spread, what they share with length, and how planted truth judges them."""

from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from scipy.stats import spearmanr

from curate.report.table import show_table
from curate.report.terminal import account_of
from curate.report.truth import show_auroc
from curate.selection import Scores


def show_scores(console: Console, scores: Scores, judged: pl.DataFrame | None, out: str) -> None:
    """Quantiles of each score, its rank correlation with the reply's length, and the planted-truth table."""
    length = scores.frame["response_tokens"].to_numpy()
    rows: list[list[Any]] = []
    for name in scores.methods:
        values = scores.frame[name].to_numpy().astype(np.float64)
        there = ~np.isnan(values)
        quantiles = np.quantile(values[there], [0.05, 0.5, 0.95]) if there.any() else [np.nan] * 3
        varies = there.sum() > 1 and np.ptp(values[there]) > 0
        rho = spearmanr(values[there], length[there]).statistic if varies else np.nan
        rows.append([name, f"{int(there.sum()):,}", f"{int((~there).sum()):,}", *(f"{q:.4g}" for q in quantiles), f"{rho:+.2f}"])
    console.print(account_of(scores.counts), highlight=False)
    columns = ("method", "scored", "null", "5%", "median", "95%", "with length")
    console.print(show_table("", columns, rows, right=columns[1:]))
    if judged is not None:
        console.print(show_auroc(judged))
    console.print(f"written {out}", highlight=False)
