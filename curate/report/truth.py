"""Planted truth as a person reads it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from curate.comparison.tables import agreement
from curate.report.table import printable, show_table

UNSURE = "~"  # before a number whose interval covers chance, as colours may not be seen
MARKED = f"Behind a defect the rows that have it; {UNSURE}: the 95% interval covers"


def show_auroc(table: pl.DataFrame) -> Group:
    """AUROC by method and defect; green is surely better than chance, red surely worse, what is neither is dim and marked."""
    title = "AUROC by planted defect: the chance that an untouched row is preferred to a spoiled one (0.5: chance)."
    sure = lambda line: (line["low"] > 0.5, line["high"] < 0.5)  # noqa: E731
    return _by_defect(table.rename({"rows": "defect_rows"}), "auroc", f"\n{title}\n{MARKED} 0.5", sure)


def show_picks_truth(table: pl.DataFrame, groups: str) -> RenderableType:
    """Enrichment of each defect among the picks; the rare groups reached and how much seeds agree; which tokens were kept.

    table   as `curate.truth.judge_picks` gives it.
    groups  the column that its rare groups are of.
    """
    title = "Planted defects among the picks, as a multiple of their share in the pool (1 is random, below 1 they were avoided)."
    shown: list[RenderableType] = [
        _by_defect(table, "enrichment", f"\n{title}\n{MARKED} 1", lambda line: (line["high"] < 1, line["low"] > 1)),
        _by_method(table.unique("method", keep="first", maintain_order=True).to_dicts(), groups),
    ]
    if table["kept_clean"].null_count() < len(table):
        shown.append(_kept(table))
    return Group(*shown)


def _with_count(name: str, rows: int | None) -> str:
    return name if rows is None else f"{name}\n({rows:,})"


def _by_method(lines: Sequence[Mapping[str, Any]], groups: str) -> Table:
    title = f"\nRare values of {groups} (below 2% of the pool) with a pick, and how much of their picks two seeds share"
    rows = [
        [
            line["method"],
            f"{line['rows']:,.0f}",
            f"{line['rare_covered']:.1f} of {line['rare_groups']}" if line["rare_groups"] else "-",
            f"{line['seeds']}",
            agreement(line) or ("-" if line["seeds"] == 1 else "same picks"),
        ]
        for line in lines
    ]
    columns = ["method", "rows", f"rare {groups}", "seeds", "overlap (of random picks)"]
    return show_table(title, columns, rows, right=columns[1:])


def _kept(table: pl.DataFrame) -> Group:
    """The share of reply tokens kept, of untouched rows and by defect."""
    there = table.filter(pl.col("kept_clean").is_not_null())
    untouched = there.unique("method", keep="first", maintain_order=True).with_columns(
        pl.lit("untouched").alias("defect"), pl.col("kept_clean").alias("kept")
    )
    title = "\nShare of reply tokens that is kept of the rows picked; of spoiled rows it should be less than of untouched ones"
    untouched = untouched.with_columns(pl.lit(None, pl.Int64).alias("defect_rows"))
    return _by_defect(pl.concat([there, untouched]), "kept", title, None, first="untouched")


def _by_defect(
    table: pl.DataFrame,
    value: str,
    title: str,
    sure: Callable[[Mapping[str, Any]], tuple[bool, bool]] | None,
    first: str | None = None,
) -> Group:
    """A row for each method, a column for each defect with how many rows have it.

    sure: whether a number is surely good, surely bad; None: nothing is said of that.
    """
    found = sorted(table["defect"].unique().to_list(), key=lambda name: (name != first, name))
    lines = {(line["method"], line["defect"]): line for line in table.to_dicts()}
    rows: list[list[Any]] = []
    for method in table["method"].unique(maintain_order=True):
        cells: list[Any] = [method]
        for defect in found:
            line = lines[method, defect]
            if line[value] is None or np.isnan(line[value]):
                cells.append(Text("-", style="dim"))
                continue
            good, bad = (False, False) if sure is None else sure(line)
            mark = UNSURE if sure is not None and not (good or bad) else ""
            cells.append(Text(f"{mark}{line[value]:.2f}", style="green" if good else "red" if bad else "dim"))
        rows.append(cells)
    count = dict(table.select("defect", "defect_rows").iter_rows())
    columns = ["method", *(_with_count(name.replace("-", "-\n"), count[name]) for name in found)]
    shown = show_table("", columns, rows, right=columns[1:])
    return Group(Text(printable(title), style="bold"), shown)  # a table would break its title at its own width
