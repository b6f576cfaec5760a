"""The candidate of a night: what stays of the accepted selection, and what is chosen given that."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from curate.budget import Budget
from curate.earlier import Earlier
from curate.engine import Engine
from curate.lm.models import ModelSpec
from curate.method import Method
from curate.pool import Pool, TokenLabels
from curate.preparation import as_method, counts, refuse_rewriting
from curate.selection import Selection, labels_of, select
from curate.wording import counted

KEPT = "kept from the accepted selection"


def choose_candidate(
    pool: Pool,
    method: Method,
    *,
    budget: Budget,
    accepted: Earlier | None,
    keep: float,
    engine: Engine,
    model: ModelSpec,
    **more: Any,
) -> Selection:
    """A selection within the budget: the first `keep` of the accepted rows, then picks from the other rows.

    accepted  what is in force, as far as its rows are in the pool; None where nothing is. The method has the rows that stay as
              existing data: one that looks at it (facility location by conditional gain, delift, nn-cift) picks what they lack,
              others pick by their own order.
    more      scorer_model, embedder, target and seed, as for `curate.select`.

    Where the rows that stay leave no room, they are the candidate. Raises InputError as `curate.select` does, and where a row
    that stays cannot be used by the model any more.
    """
    refuse_rewriting([as_method(method)], "a nightly selection")
    stays = [] if accepted is None else _stays(pool, accepted, budget, keep, engine, model)
    others = sorted(set(pool.row_ids) - set(stays))
    if accepted is None or not stays or not others:
        return select(pool, method, budget=budget, engine=engine, model=model, **more)
    room = _room(pool, stays, budget, engine, model)
    existing = pool.subset(stays)
    picked = select(pool.subset(others), method, budget=room, existing=existing, engine=engine, model=model, **more)
    return _joined(pool, stays, accepted, picked, budget, engine, model)


def _stays(pool: Pool, accepted: Earlier, budget: Budget, keep: float, engine: Engine, model: ModelSpec) -> list[str]:
    """The beginning of the accepted order: a share of it, and no more than the budget holds."""
    first = list(accepted.row_ids[: int(np.floor(keep * len(accepted.row_ids) + 1e-9))])
    costs, capacity = _costs(pool, first, budget, engine, model)
    return first[: int(np.searchsorted(np.cumsum(costs), capacity, side="right"))]


def _room(pool: Pool, stays: Sequence[str], budget: Budget, engine: Engine, model: ModelSpec) -> Budget:
    """What the rows that stay leave of the budget."""
    costs, capacity = _costs(pool, stays, budget, engine, model)
    unit = "tokens" if budget.unit == "tokens" else "rows"
    left = int(capacity - costs.sum())
    return Budget(left, unit, f"{left} {unit}")  # type: ignore[arg-type]


def _costs(pool: Pool, row_ids: Sequence[str], budget: Budget, engine: Engine, model: ModelSpec) -> tuple[np.ndarray, float]:
    """float64 [k]: what rows cost, and what the budget holds in all."""
    usable, rows, _ = engine.add("pool", pool, model)
    limit = budget.limit(engine.encodings(model, rows).lengths)
    return limit.costs[usable.positions(row_ids)], limit.capacity


def _joined(
    pool: Pool, stays: Sequence[str], accepted: Earlier, picked: Selection, budget: Budget, engine: Engine, model: ModelSpec
) -> Selection:
    """One selection of the rows that stay and the picks behind them, which `Selection.write` writes like any other."""
    before = pl.DataFrame({"row_id": stays, "reason": [KEPT] * len(stays)})
    frame = pl.concat([before, picked.frame.drop("rank")], how="diagonal").select(
        pl.exclude("reason"), "reason", rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64)
    )
    usable, rows, _ = engine.add("pool", pool, model)
    positions = usable.positions(frame["row_id"].to_list())
    known = [labels for labels in (accepted.labels, picked.labels) if labels is not None]
    labels: TokenLabels | None = None
    scored: dict[str, np.ndarray] = {}
    if known:
        chosen = TokenLabels({row_id: tokens for found in known for row_id, tokens in found.of(frame["row_id"]).rows.items()})
        labels, scored = labels_of(engine.encodings(model, rows).take(positions), chosen)
    tokens = engine.encodings(model, rows).lengths
    summary = {
        **picked.summary,
        **counts(pool, usable, int(engine.encodings(model, rows).truncated.sum())),
        "budget": str(budget),
        "order": f"{counted(len(stays))} of the accepted selection first, then {picked.summary['order']}",
        "kept_rows": len(stays),
        "selected": len(frame),
        "written": len(frame),
        "selected_tokens": int(tokens[positions].sum()),
        "pool_tokens": int(tokens.sum()),
    }
    manifest = {**picked.manifest, "budget": str(budget), "counts": summary}
    return Selection(
        frame.select(picked.frame.columns), picked.scores, usable, positions, summary, manifest, picked.unusable, labels, scored
    )
