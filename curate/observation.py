"""Recording observables of a pool: what methods see, for a person to look at."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curate.asked import asked
from curate.engine import Engine
from curate.errors import InputError
from curate.files import output_folder
from curate.lm.models import ModelSpec
from curate.lm.observables import OBSERVABLES
from curate.lm.views import AFTER_EXAMPLE, CONVERSATION, ROW_VIEWS
from curate.manifests import made_from, write_left_out
from curate.plan import merge
from curate.pool import Pool
from curate.preparation import PoolLike, Prepared, Unusable, as_model, as_pool, counts, prepare
from curate.requests import Observe, Pairs, Rows
from curate.signals import RowScore, RowTokens, RowVector
from curate.stages import Stage
from curate.store import write_manifest
from curate.versions import versions

DEFAULT = ("mean_loss", "entropy", "margin", "el2n")


@dataclass
class Observed:
    """Observables of every usable row, sorted by row id.

    frame  row_id, source, tokens, response_tokens, file, line, id (`Pool.places`), then for each observable its value (a number;
           a list with one number per scored token; an array of the model's width) and, where some are null,
           `<observable>_null` with the reason.
    """

    frame: pl.DataFrame
    pool: Pool = field(repr=False)
    stages: list[Stage] = field(repr=False)
    counts: dict[str, int]  # rows_in and what it is the sum of: rows_pool, rows_rejected, rows_duplicate, ...
    manifest: dict[str, Any] = field(default_factory=dict, repr=False)
    unusable: tuple[Unusable, ...] = field(default=(), repr=False)

    def write(self, out: str | Path, *, overwrite: bool = False) -> None:
        """observed.parquet, the rejected and duplicate rows and the manifest, in a folder that is made."""
        with output_folder(out, overwrite=overwrite) as folder:
            self.frame.write_parquet(folder / "observed.parquet")
            write_left_out(self.pool, self.unusable, folder)
            write_manifest(folder / "manifest.json", self.manifest)


def observe(
    pool: PoolLike,
    observables: Sequence[str] = DEFAULT,
    *,
    view: str = CONVERSATION,
    example: PoolLike | None = None,
    model: str | Path | ModelSpec | None = None,
    engine: Engine | None = None,
) -> Observed:
    """Record observables of every row in one pass of a model.

    observables  names in `curate.lm.observables`.
    view         a name in `ROW_VIEWS`: what the model sees (`curate.lm.views`).
    example      instead: one conversation, which the model sees before each row.

    Raises InputError for a pool, model, observable or view at fault.
    """
    engine, whole = engine or Engine(), as_pool(pool)
    example = None if example is None else as_pool(example)
    prepared, requests = ask(whole, observables, engine, view=view, example=example, model=model)
    engine.execute(merge(requests))
    answers = [(request.observable, engine.answer(request)) for request in requests]
    columns = [column for name, answer in answers for column in as_columns(name, answer)]
    counted = counts(whole, prepared.pool, prepared.truncated)
    manifest = {
        "curate": versions(),
        "observables": list(observables),
        "view": requests[0].view,
        **made_from(engine, prepared, prepared.data.model),
        "counts": counted,
        "replay": asked(
            "observe",
            engine,
            {"pool": whole, "observables": list(observables), "view": view, "example": example, "model": prepared.data.model},
        ),
    }
    frame = pl.concat([prepared.table, prepared.pool.places()], how="horizontal").with_columns(columns)
    return Observed(frame, prepared.pool, engine.stages, counted, manifest, prepared.unusable)


def ask(
    pool: PoolLike,
    observables: Sequence[str],
    engine: Engine,
    *,
    view: str,
    example: PoolLike | None,
    model: str | Path | ModelSpec | None,
) -> tuple[Prepared, list[Observe]]:
    """The pool, tokenised, and a request for each observable."""
    unknown = [name for name in observables if name not in OBSERVABLES]
    if unknown or not observables:
        raise InputError(f"observable {', '.join(unknown) or 'missing'}: there are {', '.join(OBSERVABLES)}")
    if view not in ROW_VIEWS:
        raise InputError(f"view {view!r} is not one of {', '.join(ROW_VIEWS)}")
    if example is not None and view != CONVERSATION:
        raise InputError(f"an example is seen before whole conversations, not before the view {view}")
    spec = as_model(model)
    prepared = prepare(engine, as_pool(pool), model=spec)
    rows: Rows | Pairs = prepared.rows
    if example is not None:
        given = as_pool(example)
        if len(given) != 1:
            raise InputError(f"the example must be one conversation, not {len(given):,}")
        _, examples, _ = engine.add("example", given, spec)
        every = np.arange(prepared.rows.size)
        rows, view = Pairs(prepared.rows, examples, np.stack([every, np.zeros_like(every)], axis=1)), AFTER_EXAMPLE
    return prepared, [Observe(spec, rows, name, view) for name in observables]


def as_columns(name: str, answer: RowScore | RowVector | RowTokens) -> list[pl.Series]:
    """A column of values, null where there is none, and then one with the reasons."""
    null = answer.is_null
    if isinstance(answer, RowScore):
        values = pl.Series(name, answer.values, dtype=pl.Float64).fill_nan(None)
    elif isinstance(answer, RowVector):
        vectors = pl.Series(name, answer.values, dtype=pl.Array(pl.Float32, answer.values.shape[1]))
        values = vectors.zip_with(pl.Series(~null), pl.Series(name, [None], dtype=vectors.dtype))
    else:
        lists = [None if row is None else row.tolist() for row in answer.values]
        values = pl.Series(name, lists, dtype=pl.List(pl.Float32))
    reasons = pl.Series(f"{name}_null", answer.reasons.tolist(), dtype=pl.String)
    return [values, reasons] if null.any() else [values]
