"""Embedding a pool: the vectors that methods compare rows by, for a person to use."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from curate.asked import asked
from curate.engine import Engine
from curate.errors import InputError
from curate.files import output_folder
from curate.lm.models import ModelSpec
from curate.lm.views import CONVERSATION, ROW_VIEWS
from curate.manifests import worked_on, write_left_out
from curate.observation import as_columns
from curate.plan import base_model, merge
from curate.pool import Pool
from curate.preparation import PoolLike, Unusable, as_embedder, as_model, as_pool, counts, note_cut, unusable_rows
from curate.requests import Embed, Embedder, HiddenStates, Rows
from curate.stages import Stage
from curate.store import write_manifest
from curate.versions import versions


@dataclass
class Embedded:
    """A vector of every usable row, sorted by row id.

    frame  row_id, source, file, line, id (`Pool.places`), embedding (an array of float32, not normalised) and, where some are
           null, `embedding_null` with the reason.
    """

    frame: pl.DataFrame
    pool: Pool = field(repr=False)
    stages: list[Stage] = field(repr=False)
    notes: list[str] = field(repr=False)
    counts: dict[str, int]  # rows_in and what it is the sum of: rows_pool, rows_rejected, rows_duplicate, ...
    manifest: dict[str, Any] = field(default_factory=dict, repr=False)
    unusable: tuple[Unusable, ...] = field(default=(), repr=False)

    def summary(self) -> dict[str, Any]:
        """embedder, rows, null (rows without a vector), dimensions, and the account of the pool."""
        vectors = self.frame["embedding"]
        size = self.frame.schema["embedding"].shape[0]  # type: ignore[attr-defined]
        found = {"embedder": self.manifest["embedder"], "rows": len(vectors), "null": vectors.null_count(), "dimensions": size}
        return {**found, **self.counts}

    def write(self, out: str | Path, *, overwrite: bool = False) -> None:
        """embeddings.parquet, the rejected and duplicate rows and the manifest, in a folder that is made."""
        with output_folder(out, overwrite=overwrite) as folder:
            self.frame.write_parquet(folder / "embeddings.parquet")
            write_left_out(self.pool, self.unusable, folder)
            write_manifest(folder / "manifest.json", self.manifest)


def embed(
    pool: PoolLike,
    embedder: str | Embedder = "hidden",
    *,
    view: str = CONVERSATION,
    model: str | Path | ModelSpec | None = None,
    engine: Engine | None = None,
) -> Embedded:
    """Embed every row of a pool.

    embedder  hidden, hidden:last or hidden:weighted: the model's own states, pooled over tokens; tfidf or tfidf:64; else a
              sentence-transformers model by folder or hub name. The last two need no language model, and none is loaded.
    view      a name in `ROW_VIEWS`: what is embedded (`curate.lm.views`).
    model     whose hidden states; the embedded one by default.

    Raises InputError for a pool, model, embedder or view at fault.
    """
    engine, whole = engine or Engine(), as_pool(pool)
    usable, unusable, request = ask(whole, embedder, engine, view=view, model=model)
    engine.execute(merge([request]))
    columns = {"row_id": usable.row_ids, "source": pl.Series(usable.sources, dtype=pl.String)}
    frame = pl.concat([pl.DataFrame(columns), usable.places()], how="horizontal").with_columns(
        as_columns("embedding", engine.answer(request))
    )
    reader = base_model(request.embedder.model) if isinstance(request.embedder, HiddenStates) else None
    counted = counts(whole, usable, note_cut(engine, rows, reader) if reader and isinstance(rows := request.rows, Rows) else 0)
    made = {"embedder": request.embedder.label, "view": view, **worked_on(engine, usable), "counts": counted}
    given = {"pool": whole, "embedder": embedder, "view": view, "model": reader}
    made["replay"] = asked("embed", engine, given)
    return Embedded(frame, usable, engine.stages, engine.notes, counted, {"curate": versions(), **made}, unusable)


def ask(
    pool: PoolLike, embedder: str | Embedder, engine: Engine, *, view: str, model: str | Path | ModelSpec | None
) -> tuple[Pool, tuple[Unusable, ...], Embed]:
    """The rows that can be used, why others cannot, and the request for their vectors."""
    if view not in ROW_VIEWS:
        raise InputError(f"view {view!r} is not one of {', '.join(ROW_VIEWS)}")
    found, whole = as_embedder(embedder, as_model(model)), as_pool(pool)
    if not isinstance(found, HiddenStates):
        return whole, (), Embed(found, engine.hold("pool", whole), view)
    usable, rows, failed = engine.add("pool", whole, base_model(found.model))
    return usable, unusable_rows(whole, failed), Embed(found, rows, view)
