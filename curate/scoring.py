"""Scoring a pool by one or several methods."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curate.engine import Engine
from curate.errors import InputError
from curate.files import output_folder
from curate.lm.models import ModelSpec
from curate.manifests import fits_used, made_from, write_left_out
from curate.method import Method
from curate.plan import Plan, merge
from curate.pool import Pool
from curate.preparation import PoolLike, Prepared, Unusable, as_method, as_model, as_pool, counts, prepare, signal
from curate.registry import by_label, label
from curate.requests import Embedder
from curate.stages import Stage
from curate.store import write_manifest
from curate.training.config import TrainConfig
from curate.versions import versions


@dataclass
class Scores:
    """Scores of one or more methods over a pool. `frame` has row_id, source, tokens, response_tokens, file, line and, where the
    user's rows have one, id (`Pool.places`), then for each method its score (null where it has none) and, where some are
    null, `<method>_null` with the reason."""

    frame: pl.DataFrame
    pool: Pool = field(repr=False)
    methods: list[str]
    preferences: dict[str, np.ndarray] = field(repr=False)  # by method: the score as its choice reads it, higher is kept first
    stages: list[Stage] = field(repr=False)
    counts: dict[str, int]  # rows_in and what it is the sum of: rows_pool, rows_rejected, rows_duplicate, ...
    manifest: dict[str, Any] = field(repr=False)
    unusable: tuple[Unusable, ...] = field(default=(), repr=False)

    def write(self, out: str | Path, *, overwrite: bool = False) -> None:
        """scores.parquet, the rejected and duplicate rows and the manifest, in a folder that is made."""
        with output_folder(out, overwrite=overwrite) as folder:
            self.frame.write_parquet(folder / "scores.parquet")
            write_left_out(self.pool, self.unusable, folder)
            write_manifest(folder / "manifest.json", self.manifest)


def score(
    pool: PoolLike,
    methods: str | Method | Sequence[str | Method],
    *,
    model: str | Path | ModelSpec | None = None,
    target: PoolLike | None = None,
    existing: PoolLike | None = None,
    engine: Engine | None = None,
    recipe: TrainConfig | None = None,
    embedder: str | Embedder = "hidden",
    seed: int = 0,
) -> Scores:
    """Score a pool with one or several methods, sharing their passes.

    embedder  for methods that compare rows: hidden, tfidf or a sentence-transformers model (`curate.embedding`).

    Returns a polars frame inside `Scores`. Raises InputError for a pool, model, method or setting at fault.
    """
    given = [as_method(m) for m in ([methods] if isinstance(methods, (str, Method)) else methods)]
    chosen = list(by_label(given).values())
    engine, whole, spec = engine or Engine(), as_pool(pool), as_model(model)
    prepared = prepare(
        engine,
        whole,
        model=spec,
        target=None if target is None else as_pool(target),
        existing=None if existing is None else as_pool(existing),
        recipe=recipe,
        embedder=embedder,
        seed=seed,
        methods=chosen,
    )
    for method in chosen:
        if method.by_budget:
            raise InputError(f"{method.name} chooses for one budget and has no scores; use select")
    seen = engine.gather(chosen, prepared.data)
    columns: list[pl.Series] = []
    preferences: dict[str, np.ndarray] = {}
    remarks: list[str] = []
    for method in chosen:
        found = signal(engine, prepared, method, seen)
        remarks += [f"{label(method)}: {text}" for text in method.remarks(prepared.data, found)]
        preferences[label(method)], scores = method.preference(found), method.score(found)
        columns.append(pl.Series(label(method), scores.values, dtype=pl.Float64).fill_nan(None))
        if scores.is_null.any():
            columns.append(pl.Series(f"{label(method)}_null", scores.reasons.tolist(), dtype=pl.String))
    counted = counts(whole, prepared.pool)
    manifest = {
        "curate": versions(),
        "methods": [{"name": m.name, "settings": m.model_dump(mode="json"), "paper": m.paper} for m in chosen],
        "embedder": prepared.data.embedder.label,
        **made_from(engine, prepared, spec),
        "fits": fits_used(engine, prepared, seen),
        "seed": seed,
        "counts": counted,
        "remarks": remarks,
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
    )


def plan(
    pool: PoolLike,
    methods: Sequence[str | Method],
    *,
    engine: Engine,
    model: str | Path | ModelSpec | None = None,
    target: PoolLike | None = None,
    existing: PoolLike | None = None,
    recipe: TrainConfig | None = None,
    embedder: str | Embedder = "hidden",
    seed: int = 0,
) -> tuple[Plan, Prepared]:
    """What scoring would run in its first round, without running it (the pool is tokenised). `model` scores."""
    asked = [as_method(method) for method in methods]
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
    return merge([request for method in asked for request in method.requests(prepared.data, {})]), prepared
