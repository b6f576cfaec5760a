"""How diverse a pool is, by the log-determinant distance of its embeddings."""

from pathlib import Path
from typing import Any

from rich.console import Console

from curate import vectors
from curate.diversity import SEEDS, log_determinant_distance
from curate.embedding.similarity import comparable, similarity_of
from curate.engine import Engine
from curate.errors import InputError
from curate.lm.models import ModelSpec
from curate.lm.views import CONVERSATION
from curate.plan import base_model, merge
from curate.pool import Pool
from curate.progress import task
from curate.requests import Embedder, HiddenStates, Tfidf
from curate.wording import counted

OWN_SPACE = "the words and directions of tfidf are learned from this pool, so its number does not compare with another pool's"
LEAST = 2  # rows: of one nothing can be said
SAMPLE = 2_000  # rows: as many as the references have points


def pool_diversity(
    pool: Pool, embedder: str | Embedder, engine: Engine, *, model: str | Path | ModelSpec | None = None
) -> dict[str, Any]:
    """The report of `curate.diversity.Diversity` with embedder, rows_pool, rows_sampled and a note (or None).

    Of a pool of more than SAMPLE rows those with the smallest row ids are embedded: ids are hashes, so this is as if at random,
    and rows that are added change little. Kernel `sphere`, gamma 10 for hidden states and 1 for other embeddings. With fewer rows
    than LEAST that have an embedding distance is None, and note says so. Raises InputError for an embedder at fault, or where
    no row has an embedding.
    """
    some = pool if len(pool) <= SAMPLE else pool.subset(pool.row_ids[:SAMPLE])
    _, _, request = vectors.ask(some, embedder, engine, view=CONVERSATION, model=model)
    engine.execute(merge([request]))
    given = engine.answer(request)
    similarity = similarity_of("sphere", None, request.embedder, given)
    usable = comparable(given, similarity)
    label = request.embedder.label
    if isinstance(request.embedder, HiddenStates):
        label = f"{label} of {base_model(request.embedder.model).label}"
    if usable.is_null.all():
        raise InputError(f"no row of the pool has an embedding by {label}: {usable.reasons[0]}")
    about = {"embedder": label, "rows_pool": len(pool), "rows_sampled": len(some)}
    if (rows := int((~usable.is_null).sum())) < LEAST:
        return {
            **about,
            "rows": rows,
            "distance": None,
            "note": f"it is of {LEAST} rows or more, and {counted(rows)} can be used",
        }
    with task("diversity", 1 + len(SEEDS), "sets") as advance:
        found = log_determinant_distance(usable.values[~usable.is_null], similarity=similarity, progress=advance)
    note = OWN_SPACE if isinstance(request.embedder, Tfidf) else None
    return {**about, **found.report(), "note": note}


def show_diversity(console: Console, found: dict[str, Any]) -> None:
    """The report on a terminal."""
    d = found
    if d["distance"] is None:
        return console.print(f"\ndiversity: not measured; {d['note']}", highlight=False, markup=False)
    said = [
        f"\ndiversity: {d['distance']:.3f} nats a row from points spread evenly over the sphere; 0 is as diverse, more is less,",
        "  below 0 more diverse than such points",
        f"  log-determinant distance by {d['embedder']}, {d['rows']:,} of {d['rows_pool']:,} rows, {d['picks']:,} picks; kernel "
        f"{d['similarity']}, gamma {d['gamma']:g}",
        f"  the mean over {len(d['seeds'])} references: {d['reference_rows']:,} points of {d['dimensions']:,} dimensions each, "
        f"seeds {', '.join(map(str, d['seeds']))}, which differ by {d['spread']:.3f}",
        "  numbers compare only where all of these agree",
    ]
    if d["note"]:
        said[-1] = f"  {d['note']}"
    if d["spanned"]:
        said.insert(2, f"  {d['spanned']:,} picks are copies or nearly so: nothing in other directions was left")
    console.print("\n".join(said), highlight=False, markup=False)
