"""Judging scores and selections against planted truth: a column that names each row's defect (null: untouched)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from curate.errors import InputError
from curate.planted import auroc, coverage, enrichment
from curate.pool import Pool
from curate.stability import jaccard_by_chance, mean_jaccard

if TYPE_CHECKING:
    from curate.scoring import Scores

PICKS = {
    "method": pl.String, "defect": pl.String, "defect_rows": pl.Int64, "enrichment": pl.Float64, "low": pl.Float64,
    "high": pl.Float64, "kept": pl.Float64, "kept_clean": pl.Float64, "rare_covered": pl.Float64, "rare_groups": pl.Int64,
    "seeds": pl.Int64, "selections": pl.Int64, "rows": pl.Float64, "agree": pl.Float64, "agree_random": pl.Float64,
}  # fmt: skip


def defects(pool: Pool, column: str) -> np.ndarray:
    """object [n]: the planted defect of each row, None where it is untouched.

    InputError when there is no such column, or it holds something else than text.
    """
    values = pool.column(column).to_pylist()
    strange = next((value for value in values if not isinstance(value, str | None)), None)
    if strange is not None:
        raise InputError(f"the column {column} does not name defects: it holds {type(strange).__name__}, not text or null")
    return np.array(values, dtype=object)


def check(pool: Pool, column: str, groups: str | None = None) -> None:
    """InputError, before anything runs, unless both columns are there and hold text or null."""
    defects(pool, column)
    _groups(pool, groups)


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


def picks_table(
    picks: Mapping[str, Sequence[np.ndarray]],
    planted: np.ndarray,
    groups: Sequence[str | None],
    tokens: Mapping[str, Sequence[np.ndarray]] | None = None,
) -> pl.DataFrame:
    """How selections treat defects and rare groups, and how much they agree.

    picks   for each method its picks, one array of positions per seed.
    tokens  for methods that choose tokens, int [k, 2] beside each array of picks: reply tokens of the row, and how many are kept.

    One row per method and defect: defect_rows, of the pool; enrichment (the defect's share among the picks over its share in the
    pool, seeds pooled), low, high; kept, the share of reply tokens that is kept of picked rows with the defect, and kept_clean,
    of untouched ones (null where all tokens count). The same on each of a method's rows: rare_covered of rare_groups as a mean
    over seeds; seeds; rows picked, a mean over seeds; selections, how many different ones; agree, the mean Jaccard overlap of two
    seeds' picks, and agree_random, what random picks of these sizes have in expectation (null where all seeds pick the same).
    """
    clean = planted == None  # noqa: E711
    lines = []
    for name, by_seed in picks.items():
        flags = np.stack([np.isin(np.arange(len(planted)), positions) for positions in by_seed])
        reached = [coverage(flag, groups) for flag in flags]
        selections = len({flag.tobytes() for flag in flags})
        agree = mean_jaccard(by_seed), jaccard_by_chance([len(positions) for positions in by_seed], len(planted))
        of_method = {
            "rare_covered": float(np.mean([c.rare_covered for c in reached])),
            "rare_groups": reached[0].rare_groups,
            "seeds": len(by_seed),
            "selections": selections,
            "rows": float(np.mean([len(positions) for positions in by_seed])),
            **dict(zip(("agree", "agree_random"), agree if selections > 1 else (None, None), strict=True)),
        }
        counted = None if tokens is None or name not in tokens else np.concatenate([*tokens[name], np.empty((0, 2), np.int64)])
        picked = planted[np.concatenate(by_seed)]
        for defect in sorted(set(planted[~clean])):
            found = enrichment(flags, planted == defect)
            kept = {
                "kept": None if counted is None else _share_kept(counted[picked == defect]),
                "kept_clean": None if counted is None else _share_kept(counted[picked == None]),  # noqa: E711
            }
            of_defect = {"enrichment": found.value, "low": found.low, "high": found.high}
            there = {"defect_rows": int((planted == defect).sum())}
            lines.append({"method": name, "defect": defect, **there, **of_defect, **kept, **of_method})
    return pl.DataFrame(lines, schema=PICKS)


def _share_kept(counted: np.ndarray) -> float | None:
    of, kept = counted.sum(axis=0).tolist()
    return kept / of if of else None


def judge_picks(selections: pl.DataFrame, pool: Pool, column: str, groups: str | None = None) -> pl.DataFrame:
    """How picks treat each planted defect, how many rare groups they reach and how much they agree over seeds: `picks_table`.

    selections  method, budget, seed, row_id, and where tokens were chosen reply_tokens and kept_tokens; as `Scores.picks`
                and `Verdict.selections` have them. Picks of several budgets are named by method and budget.
    groups      as `group_column` has it.
    """
    planted, labels = defects(pool, column), _groups(pool, groups)
    where = {row_id: i for i, row_id in enumerate(pool.row_ids)}
    picks: dict[str, list[np.ndarray]] = {}
    tokens: dict[str, list[np.ndarray]] = {}
    several = selections["budget"].n_unique() > 1
    for (method, budget, _), part in selections.group_by("method", "budget", "seed", maintain_order=True):
        name = f"{method} {budget}" if several else str(method)
        picks.setdefault(name, []).append(np.array([where[row_id] for row_id in part["row_id"]], dtype=np.int64))
        if "kept_tokens" in part.columns and not part["kept_tokens"].null_count():
            tokens.setdefault(name, []).append(part.select("reply_tokens", "kept_tokens").to_numpy())
    return picks_table(picks, planted, labels, tokens)


def group_column(pool: Pool, named: str | None = None) -> str:
    """The column whose rare values selections should reach: the one that is named, else `skill`, else `source`."""
    return named or ("skill" if "skill" in pool.column_names else "source")


def _groups(pool: Pool, named: str | None) -> list[str | None]:
    column = group_column(pool, named)
    if column == "source":
        return list(pool.sources)
    values = pool.column(column).to_pylist()
    strange = next((value for value in values if not isinstance(value, str | None)), None)
    if strange is not None:
        raise InputError(f"the column {column} does not name groups: it holds {type(strange).__name__}, not text or null")
    return values


@dataclass(frozen=True)
class Judged:
    """What planted truth says of scores (`score_table`) and, where methods picked, of their picks (`picks_table`)."""

    scores: pl.DataFrame
    picks: pl.DataFrame | None
    groups: str  # the column that rare groups are of

    def tables(self) -> dict[str, pl.DataFrame]:
        """The tables by the names of their files."""
        return {"auroc.parquet": self.scores} | ({} if self.picks is None else {"enrichment.parquet": self.picks})


def judge(scores: "Scores", column: str, groups: str | None = None) -> Judged:
    """Judge scores, and the picks that came with a budget, by the column that names each row's planted defect.

    groups  the column whose rare values picks should reach; `skill` or else `source` where it is not given.

    InputError when a column is missing or holds something else than text.
    """
    auroc = score_table(scores.preferences, defects(scores.pool, column))
    picks = None if scores.picks is None else judge_picks(scores.picks, scores.pool, column, groups)
    return Judged(auroc, picks, group_column(scores.pool, groups))
