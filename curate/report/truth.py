"""Planted truth as a person reads it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from rich.table import Table
from rich.text import Text

from curate.comparison.verdict import Verdict
from curate.pool import Pool
from curate.report.table import show_table
from curate.scoring import Scores
from curate.truth import defects, picks_table, score_table


def judge(scores: Scores, column: str) -> pl.DataFrame:
    """AUROC per method and defect, of the preference that each method's choice follows."""
    return score_table(scores.preferences, defects(scores.pool, column))


def judge_picks(verdict: Verdict, pool: Pool, column: str, groups: str | None = None) -> pl.DataFrame:
    """How the selections of a comparison treat each planted defect, and how many rare groups they reach.

    groups: the column that names them; `skill` or else `source` where it is not given.
    """
    planted = defects(pool, column)
    names = groups or ("skill" if "skill" in pool.column_names else None)
    labels = pool.column(names).to_pylist() if names else pool.sources
    where = {row_id: i for i, row_id in enumerate(pool.row_ids)}
    picks: dict[str, list[np.ndarray]] = {}
    chosen = verdict.selections.filter(pl.col("kind") != "length-matched")
    several = chosen["budget"].n_unique() > 1
    for (method, budget, _), part in chosen.group_by("method", "budget", "seed", maintain_order=True):
        picks.setdefault(f"{method} {budget}" if several else str(method), []).append(
            np.array([where[row_id] for row_id in part["row_id"]], dtype=np.int64)
        )
    return picks_table(picks, planted, labels)


def show_auroc(table: pl.DataFrame) -> Table:
    """AUROC by method and defect; green is surely better than chance, red surely worse."""
    title = "AUROC by planted defect: the chance that an untouched row is preferred to a spoiled one (0.5: chance)"
    return _show(table, "auroc", f"\n{title}", lambda line: (line["low"] > 0.5, line["high"] < 0.5), {})


def show_picks_truth(verdict: Verdict, pool: Pool, column: str) -> Table:
    """Enrichment of each defect among the picks, and the rare groups reached."""
    table = judge_picks(verdict, pool, column)
    title = "Planted defects among the picks, as a multiple of their share in the pool (1 is random, below 1 they were avoided)"
    rare = {line["method"]: f"{line['rare_covered']:.1f}/{line['rare_groups']}" for line in table.to_dicts()}
    return _show(table, "enrichment", f"\n{title}", lambda line: (line["high"] < 1, line["low"] > 1), rare)


def _show(table: pl.DataFrame, value: str, title: str, sure: Any, last: Mapping[str, str]) -> Table:
    found = table["defect"].unique().sort().to_list()
    rows: list[list[Any]] = []
    for method in table["method"].unique(maintain_order=True):
        cells: list[Any] = [method]
        for defect in found:
            line = table.filter((pl.col("method") == method) & (pl.col("defect") == defect)).to_dicts()[0]
            good, bad = sure(line)
            text = "" if line[value] is None or np.isnan(line[value]) else f"{line[value]:.2f}"
            cells.append(Text(text, style="green" if good else "red" if bad else "dim"))
        rows.append([*cells, *([last[method]] if last else [])])
    columns = ["method", *(name.replace("-", "-\n") for name in found), *(["rare\ngroups\nreached"] if last else [])]
    return show_table(title, columns, rows, right=columns[1:])
