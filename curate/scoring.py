"""Scoring a pool by one or several methods, and what they would pick."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curate.answers import Seen
from curate.asked import asked as record
from curate.budget import Budget
from curate.choices import Choice, choices
from curate.engine import Engine
from curate.errors import InputError
from curate.files import output_folder
from curate.lm.models import ModelSpec
from curate.manifests import fits_used, made_from, write_left_out
from curate.method import Data, Method
from curate.overview import Picked, overview, write_overview
from curate.plan import Plan, merge
from curate.pool import Pool
from curate.preparation import MethodLike, PoolLike, Prepared, Unusable, as_methods, as_model, as_pool, counts, prepare, signal
from curate.registry import by_label, label
from curate.requests import Embedder
from curate.signals import RowScore
from curate.stages import Stage
from curate.store import write_manifest
from curate.training.config import TrainConfig
from curate.versions import versions


@dataclass
class Scores:
    """Scores of one or more methods over a pool. `frame` has row_id, source, tokens, response_tokens, file, line and, where the
    user's rows have one, id (`Pool.places`), then for each method its score (null where it has none) and, where some are
    null, `<method>_null` with the reason.

    picks  with a budget, what each method picks: method, budget, seed, row_id, and where it chose tokens reply_tokens and
           kept_tokens (null elsewhere).
    """

    frame: pl.DataFrame
    pool: Pool = field(repr=False)
    methods: list[str]
    preferences: dict[str, np.ndarray] = field(repr=False)  # by method: the score as its choice reads it, higher is kept first
    stages: list[Stage] = field(repr=False)
    counts: dict[str, int]  # rows_in and what it is the sum of: rows_pool, rows_rejected, rows_duplicate, ...
    manifest: dict[str, Any] = field(repr=False)
    unusable: tuple[Unusable, ...] = field(default=(), repr=False)
    picks: pl.DataFrame | None = field(default=None, repr=False)
    overview: Callable[[], dict[str, Any]] | None = field(default=None, repr=False)  # what reports show, made when it is written

    def _repr_html_(self) -> str:
        from curate.notebook import scores_html

        return scores_html(self)

    def write(self, out: str | Path, *, overwrite: bool = False, tables: Mapping[str, pl.DataFrame] | None = None) -> None:
        """scores.parquet, picks.parquet, the rejected and duplicate rows and the manifest, in a folder that is made.

        tables: further ones by the names of their files, such as what `curate.judge` says of the scores.
        """
        with output_folder(out, overwrite=overwrite) as folder:
            self.frame.write_parquet(folder / "scores.parquet")
            if self.picks is not None:
                self.picks.write_parquet(folder / "picks.parquet")
            for name, table in (tables or {}).items():
                table.write_parquet(folder / name)
            write_left_out(self.pool, self.unusable, folder)
            if self.overview is not None:
                write_overview(folder, self.overview())
            write_manifest(folder / "manifest.json", self.manifest)


def score(
    pool: PoolLike,
    methods: MethodLike | Sequence[MethodLike],
    *,
    model: str | Path | ModelSpec | None = None,
    target: PoolLike | None = None,
    existing: PoolLike | None = None,
    engine: Engine | None = None,
    recipe: TrainConfig | None = None,
    embedder: str | Embedder = "hidden",
    seed: int = 0,
    budget: Budget | str | int | float | None = None,
    seeds: int = 1,
) -> Scores:
    """Score a pool with one or several methods, sharing their passes.

    embedder  for methods that compare rows: hidden, tfidf or a sentence-transformers model (`curate.embedding`).
    budget    also let every method pick within it, as for `select`; `curate.judge` then judges the picks as well.
    seeds     for how many seeds, from `seed` on, they pick; the scores are of the first.

    Without a budget nothing is computed for a method that gives no row a score (`Method.unscored`); that is said.

    Returns a polars frame inside `Scores`. Raises InputError for a pool, model, method or setting at fault, and without a budget
    where no method scores rows.
    """
    chosen = list(by_label(as_methods(methods)).values())
    if seeds < 1:
        raise InputError(f"seeds must be at least 1, not {seeds}")
    parsed = None if budget is None else Budget.parse(budget)
    asked = chosen if parsed is not None else scoring(chosen)
    engine, whole, spec = engine or Engine(), as_pool(pool), as_model(model)
    aimed, held = None if target is None else as_pool(target), None if existing is None else as_pool(existing)
    prepared = prepare(
        engine,
        whole,
        model=spec,
        target=aimed,
        existing=held,
        recipe=recipe,
        embedder=embedder,
        seed=seed,
        methods=asked,
    )
    if parsed is None:
        found, seen = _signals(engine, prepared, asked)
        picked, chose = None, {}
    else:
        rounds = [choices(engine, prepared, chosen, [parsed], seed + number, keep_signals=not number) for number in range(seeds)]
        found = {choice.name: (choice.data, choice.signal) for choice in rounds[0]}
        chose = {choice.name: choice.picks for choice in rounds[0]}
        seen = [choice.seen for made in rounds for choice in made]
        picked = _picks_frame(prepared, [choice for made in rounds for choice in made])
    columns: list[pl.Series] = []
    preferences: dict[str, np.ndarray] = {}
    remarks: list[str] = []
    shown: list[Picked] = []
    for method in chosen:
        name = label(method)
        if method in asked:
            data, known = found[name]
            remarks += [f"{name}: {text}" for text in method.remarks(data, known)]
            if (scored := method.scored_by()) is not None and method.unscored() is None:
                remarks.append(f"{name}: its score is {scored}, its quality of a row; what it picks depends on other rows too")
            preferences[name], scores = method.preference(known), method.score(known)
            shown.append(Picked(name, chose.get(name), scores, preferences[name], method.by_chance, seen[0]))
        else:
            remarks.append(f"{name}: {method.unscored()}, so nothing was computed for it; `curate select` gives its picks")
            scores = RowScore.none(RowScore.of(np.zeros(len(prepared.pool))), method.unscored() or "")
            preferences[name] = scores.values
        columns.append(pl.Series(name, scores.values, dtype=pl.Float64).fill_nan(None))
        if scores.is_null.any():
            columns.append(pl.Series(f"{name}_null", scores.reasons.tolist(), dtype=pl.String))
    counted = counts(whole, prepared.pool, prepared.truncated)
    manifest = {
        "curate": versions(),
        "methods": [{"name": m.name, "settings": m.model_dump(mode="json"), "paper": m.paper} for m in chosen],
        "embedder": prepared.data.embedder.label,
        **made_from(engine, prepared, spec),
        "fits": fits_used(engine, prepared, *seen),
        "seed": seed,
        **({} if parsed is None else {"budget": str(parsed), "seeds": seeds}),
        "counts": counted,
        "remarks": remarks,
        "replay": record(
            "score",
            engine,
            {
                "pool": whole,
                "methods": chosen,
                "model": spec,
                "target": aimed,
                "existing": held,
                "recipe": recipe,
                "embedder": embedder,
                "seed": seed,
                "budget": parsed,
                "seeds": seeds,
            },
        ),
    }
    return Scores(
        pl.concat([prepared.table, prepared.pool.places()], how="horizontal").with_columns(columns),
        prepared.pool,
        list(preferences),
        preferences,
        engine.stages,
        counted,
        manifest,
        prepared.unusable,
        picked,
        lambda: overview(engine, prepared, shown, spec, counted, budget=None if parsed is None else str(parsed)),
    )


def scoring(methods: Sequence[Method]) -> list[Method]:
    """Those that score rows. Raises InputError where none does."""
    found = [method for method in methods if method.unscored() is None]
    if not found:
        why = "; ".join(dict.fromkeys(method.unscored() or "" for method in methods))
        raise InputError(f"there is no score to compute: {why}; use `curate select`, or judge picks by --truth and --budget")
    return found


def _signals(engine: Engine, prepared: Prepared, methods: Sequence[Method]) -> tuple[dict[str, tuple[Data, Any]], list[Seen]]:
    """What each method makes of the rows, by its label, and what it saw. InputError for one that needs a budget."""
    for method in methods:
        if method.by_budget:
            raise InputError(f"{method.name} chooses for one budget and has no scores; name a budget, or use select")
    seen = engine.gather(methods, prepared.data)
    return {label(method): (prepared.data, signal(prepared, method, seen)) for method in methods}, [seen]


def _picks_frame(prepared: Prepared, made: Sequence[Choice]) -> pl.DataFrame:
    row_ids = np.array(prepared.pool.row_ids, dtype=object)
    schema = {
        "method": pl.String, "budget": pl.String, "seed": pl.Int64, "row_id": pl.String, "reply_tokens": pl.Int64,
        "kept_tokens": pl.Int64,
    }  # fmt: skip
    lines = []
    for choice in made:
        tokens = choice.picks.tokens
        counted = [(None, None)] * len(choice.picks) if tokens is None else [(len(row), np.count_nonzero(row)) for row in tokens]
        rows = row_ids[choice.picks.index].tolist()
        lines += [(choice.name, str(choice.budget), choice.seed, row_id, *of) for row_id, of in zip(rows, counted, strict=True)]
    return pl.DataFrame(lines, schema=schema, orient="row")


def plan(
    pool: PoolLike,
    methods: MethodLike | Sequence[MethodLike],
    *,
    engine: Engine,
    model: str | Path | ModelSpec | None = None,
    target: PoolLike | None = None,
    existing: PoolLike | None = None,
    recipe: TrainConfig | None = None,
    embedder: str | Embedder = "hidden",
    seed: int = 0,
    seeds: int = 1,
    picks: bool = True,
) -> tuple[Plan, Prepared]:
    """What scoring would run in its first round, without running it (the pool is tokenised). `model` scores.

    picks  whether methods are to pick as well; else those are left out that give no row a score.
    """
    asked = as_methods(methods)
    asked = asked if picks else scoring(asked)
    prepared = prepare(
        engine,
        as_pool(pool),
        model=as_model(model),
        target=None if target is None else as_pool(target),
        existing=None if existing is None else as_pool(existing),
        recipe=recipe,
        embedder=embedder,
        seed=seed,
        methods=asked,
    )
    given = [replace(prepared.data, seed=seed + number) for number in range(seeds)]
    return merge([request for data in given for method in asked for request in method.requests(data, {})]), prepared
