"""Judging scores and selections against planted truth: a column that names each row's defect (null: untouched)."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from curate.errors import InputError
from curate.planted import auroc, coverage, enrichment
from curate.pool import Pool


def defects(pool: Pool, column: str) -> np.ndarray:
    """object [n]: the planted defect of each row, None where it is untouched.

    InputError when there is no such column, or it holds something else than text.
    """
    values = pool.column(column).to_pylist()
    strange = next((value for value in values if not isinstance(value, str | None)), None)
    if strange is not None:
        raise InputError(f"the column {column} does not name defects: it holds {type(strange).__name__}, not text or null")
    return np.array(values, dtype=object)


def score_table(preferences: Mapping[str, np.ndarray], planted: np.ndarray) -> pl.DataFrame:
    """AUROC of each method against each defect: the chance that an untouched row is preferred to a spoiled one.

    preferences: float [n] by method, higher is kept first, NaN null. One row per method and defect: auroc, low, high, rows.
    """
    clean = planted == None  # noqa: E711 (elementwise)
    lines = []
    for name, values in preferences.items():
        for defect in sorted(set(planted[~clean])):
            here = planted == defect
            found = auroc(values, here, clean)
            lines.append((name, defect, found.value, found.low, found.high, int(here.sum())))
    return pl.DataFrame(lines, schema=["method", "defect", "auroc", "low", "high", "rows"], orient="row")


def picks_table(picks: Mapping[str, Sequence[np.ndarray]], planted: np.ndarray, groups: Sequence[str | None]) -> pl.DataFrame:
    """How selections treat defects and rare groups.

    picks: for each method its picks, one array of positions per seed. One row per method and defect: enrichment (the
    defect's share among the picks over its share in the pool, seeds pooled), low, high; and, the same on each of a
    method's rows, rare_covered of rare_groups as a mean over seeds.
    """
    clean = planted == None  # noqa: E711
    lines = []
    for name, by_seed in picks.items():
        flags = [np.isin(np.arange(len(planted)), positions) for positions in by_seed]
        reached = [coverage(flag, groups) for flag in flags]
        rare = float(np.mean([c.rare_covered for c in reached]))
        distinct = {flag.tobytes(): flag for flag in flags}.values()
        chosen = np.concatenate(list(distinct))
        for defect in sorted(set(planted[~clean])):
            found = enrichment(chosen, np.tile(planted == defect, len(distinct)))
            lines.append((name, defect, found.value, found.low, found.high, rare, reached[0].rare_groups))
    columns = ["method", "defect", "enrichment", "low", "high", "rare_covered", "rare_groups"]
    return pl.DataFrame(lines, schema=columns, orient="row")
