"""Selecting from a pool: the library's main job."""

import shlex
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curate.asked import asked
from curate.budget import Budget
from curate.engine import Engine
from curate.errors import InputError
from curate.exports import Chosen
from curate.files import output_folder
from curate.jobs import Job
from curate.lm.encodings import Encodings, scored_positions
from curate.lm.models import ModelSpec
from curate.manifests import fits_used, made_from, write_left_out
from curate.overview import Picked, overview, write_overview
from curate.pool import Pool, TokenLabels, rewritten
from curate.preparation import (
    MethodLike,
    PoolLike,
    Prepared,
    Unusable,
    as_method,
    as_model,
    as_pool,
    choose,
    counts,
    generator,
    prepare,
    signal,
    within,
)
from curate.registry import label
from curate.requests import Embedder
from curate.selectors.picks import Picks
from curate.signals import RowScore
from curate.store import write_manifest
from curate.training.config import TrainConfig
from curate.versions import versions
from curate.wording import known


@dataclass
class Selection:
    """What a method picked from a pool, and everything needed to export and replay it.

    frame   row_id, rank (from 1), score, gain, stratum, reason; in rank order
    scores  row_id, score, null_reason of every usable row
    """

    frame: pl.DataFrame
    scores: pl.DataFrame = field(repr=False)
    pool: Pool = field(repr=False)
    positions: np.ndarray = field(repr=False)
    summary: dict[str, Any]
    manifest: dict[str, Any] = field(repr=False)
    unusable: tuple[Unusable, ...] = field(default=(), repr=False)
    labels: TokenLabels | None = field(default=None, repr=False)  # of the picks, where tokens were chosen
    scored: dict[str, np.ndarray] = field(default_factory=dict, repr=False)  # then, by row id: int64 [R], where they stand
    overview: Callable[[], dict[str, Any]] | None = field(default=None, repr=False)  # what reports show, made when it is written
    exported: tuple[Pool, np.ndarray] | None = field(
        default=None, repr=False
    )  # where replies were rewritten: the rows, their order

    def __len__(self) -> int:
        return len(self.frame)

    def _repr_html_(self) -> str:
        from curate.notebook import selection_html

        return selection_html(self)

    @property
    def data(self) -> pl.DataFrame:
        """The picked rows in rank order, with all the user's columns."""
        pool, positions = self._written
        return pool.take(positions).frame()

    def to_dataset(self) -> Any:
        """The picked rows in rank order as a datasets.Dataset, with the user's own columns; repeated rows several times."""
        import datasets

        pool, positions = self._written
        return datasets.Dataset(pool.originals(pool.repeated(positions)).combine_chunks())

    @property
    def _written(self) -> tuple[Pool, np.ndarray]:
        """The pool that the data is of, and its positions in rank order."""
        return self.exported or (self.pool, self.positions)

    @property
    def policy(self) -> dict[str, Any] | None:
        """Settings of the trainer by which it chooses tokens of the picks as it learns, where that is the method."""
        return TrainConfig(**self.manifest["recipe"]).policy

    def _card(self) -> str:
        s = self.summary
        return (
            f"{s['selected']:,} of {s['rows_pool']:,} conversations, selected by `curate` with {s['method']} at {s['budget']}, "
            f"{s['order']}.\n`selection.parquet` says why each was picked, `manifest.json` how to pick them again."
        )

    def write(self, out: str | Path, *, shape: str = "original", overwrite: bool = False) -> None:
        """The picks, the data in rank order (Parquet, JSONL, snippets for trainers that can), rejected rows and the manifest.

        `shape` is `original` (the user's own columns) or `messages`. The folder appears whole or not at all.
        """
        with output_folder(out, overwrite=overwrite) as folder:
            self.frame.write_parquet(folder / "selection.parquet")
            self.scores.write_parquet(folder / "scores.parquet")
            chosen = Chosen(
                *self._written, self.manifest["model"]["name"], self.labels, self.scored, self.policy
            )  # fmt: skip
            chosen.write(folder, self._card(), shape=shape)  # type: ignore[arg-type]
            write_left_out(self.pool, self.unusable, folder)
            if self.overview is not None:
                write_overview(folder, self.overview())
            replay = {**self.manifest["replay"], "shape": shape}
            write_manifest(folder / "manifest.json", {**self.manifest, "replay": replay})


def select(
    pool: PoolLike,
    method: MethodLike = "lobass",
    *,
    budget: Budget | str | int | float,
    settings: Mapping[str, Any] | None = None,
    model: str | Path | ModelSpec | None = None,
    scorer_model: str | Path | ModelSpec | None = None,
    target: PoolLike | None = None,
    existing: PoolLike | None = None,
    engine: Engine | None = None,
    recipe: TrainConfig | None = None,
    embedder: str | Embedder = "hidden",
    seed: int = 0,
    fill: str = "none",
    command: Sequence[str] | None = None,
) -> Selection:
    """Select rows of a pool by a method, within a budget (`1000`, `"10%"`, `"2M tokens"`, a float is a fraction).

    embedder  for methods that compare rows: hidden, tfidf or a sentence-transformers model (`curate.embedding`).

    When fewer rows than the budget allows have a score, the selection is short and says so, or is filled up at random
    with `fill="random"`. Raises InputError for a pool, model, method, setting or budget at fault.
    """
    if fill not in ("none", "random"):
        raise InputError(f"fill {fill!r} is not one of none, random")
    start = time.perf_counter()
    engine, parsed, chosen = engine or Engine(), Budget.parse(budget), as_method(method, settings)
    whole = as_pool(pool)
    if chosen.rewrites() and whole.labels is not None:
        raise InputError(
            f"of the pool's replies only some tokens count, and {label(chosen)} would rewrite them; turn rewriting off"
        )
    spec, scorer = as_model(model), None if scorer_model is None else as_model(scorer_model)
    aimed, held = None if target is None else as_pool(target), None if existing is None else as_pool(existing)
    prepared = prepare(
        engine,
        whole,
        model=spec,
        scorer_model=scorer,
        target=aimed,
        existing=held,
        recipe=recipe,
        embedder=embedder,
        seed=seed,
        methods=[chosen],
    )
    prepared = within(prepared, chosen, parsed)
    seen = engine.gather([chosen], prepared.data)

    def pick() -> tuple[RowScore, np.ndarray, Picks, list[str]]:
        found = signal(prepared, chosen, seen)
        picks = choose(prepared, chosen, found, parsed)
        return chosen.score(found), chosen.preference(found), picks, [*chosen.remarks(prepared.data, found), *picks.remarks]

    [(scores, preference, picks, said)] = engine.executor.run([Job("selection", f"select {parsed} by {label(chosen)}", pick)])
    if fill == "random" and picks.shortfall:
        picks = _filled(picks, prepared, parsed, generator(seed, chosen, "fill"))
    frame = _picks_frame(prepared, scores, picks)
    labels, scored = _labels(engine, prepared, spec, picks)
    exported = None if picks.rewritten is None else rewritten(prepared.pool, picks.index, picks.rewritten)
    computed, took = engine.computed_rows(prepared.rows), engine.cost(seen, chosen)
    summary = {
        "method": label(chosen),
        "budget": str(parsed),
        "order": chosen.order(),
        "model": spec.label,
        "scorer_model": (scorer or spec).label,
        **counts(whole, prepared.pool, prepared.truncated),
        "selected": len(frame),
        "written": len(exported[0].repeated() if exported else prepared.pool.repeated(picks.index)),
        **_rewritten_counts(picks, exported),
        "selected_tokens": int(prepared.table["tokens"].to_numpy()[picks.index].sum()),
        "pool_tokens": int(prepared.table["tokens"].sum()),
        **_token_counts(labels),
        "rows_null": picks.nulls,
        "shortfall": picks.shortfall,
        "computed_rows": computed,
        "reused_rows": len(prepared.pool) - computed,
        **{f"computed_rows_{role}": engine.computed_rows(rows) for role, rows in prepared.data.others.items()},
        "remarks": said,
        "select_seconds": known(took[0]),
        "select_flops": known(took[1]),
        "seconds": round(time.perf_counter() - start, 3),
    }
    manifest = {
        "curate": versions(),
        "command": shlex.join(command) if command else None,
        "method": {"name": chosen.name, "settings": chosen.model_dump(mode="json"), "paper": chosen.paper},
        "budget": str(parsed),
        "seed": seed,
        "fill": fill,
        "embedder": prepared.data.embedder.label,
        **made_from(engine, prepared, spec),
        "recipe": chosen.training(prepared.data, seen, prepared.data.recipe).model_dump(mode="json"),
        "fits": fits_used(engine, prepared, seen),
        "counts": summary,
        "replay": asked(
            "select",
            engine,
            {
                "pool": whole,
                "method": chosen,
                "budget": parsed,
                "model": spec,
                "scorer_model": scorer,
                "target": aimed,
                "existing": held,
                "recipe": recipe,
                "embedder": embedder,
                "seed": seed,
                "fill": fill,
            },
        ),
    }
    all_scores = pl.DataFrame(
        {
            "row_id": prepared.pool.row_ids,
            "score": pl.Series(scores.values).fill_nan(None),
            "null_reason": pl.Series(scores.reasons.tolist(), dtype=pl.String),
        }
    )

    def look() -> dict[str, Any]:
        shown = Picked(label(chosen), picks, scores, preference, chosen.by_chance, seen)
        account = counts(whole, prepared.pool, prepared.truncated)
        return overview(engine, prepared, [shown], spec, account, budget=str(parsed))

    return Selection(
        frame, all_scores, prepared.pool, picks.index, summary, manifest, prepared.unusable, labels, scored, look, exported
    )  # fmt: skip


def _labels(
    engine: Engine, prepared: Prepared, model: ModelSpec, picks: Picks
) -> tuple[TokenLabels | None, dict[str, np.ndarray]]:
    """The picks' tokens as the model to be trained has them, and where the scored ones stand; None where all of them count."""
    before = prepared.pool.labels
    if picks.tokens is None and before is None:
        return None, {}
    return labels_of(engine.encodings(model, prepared.rows).take(picks.index), before, picks.tokens)


def labels_of(
    encodings: Encodings, before: TokenLabels | None, tokens: Sequence[np.ndarray] | None = None
) -> tuple[TokenLabels, dict[str, np.ndarray]]:
    """The labels of rows out of what was chosen before and now, and by row id where the scored tokens stand, int64 [R].

    before  of some of the rows; of the others all tokens count. tokens: float32 [R] of each row, chosen now.
    """
    rows = {}
    scored = {row_id: scored_positions(mask) for row_id, mask in zip(encodings.row_ids, encodings.loss_mask, strict=True)}
    for i, row_id in enumerate(encodings.row_ids):
        weights = np.ones(len(scored[row_id]), np.float32) if tokens is None else tokens[i]
        if before is not None and row_id in before.rows:
            weights = weights * before.rows[row_id][1]
        rows[row_id] = encodings.input_ids[i], np.asarray(weights, np.float32)
    return TokenLabels(rows), scored


def _token_counts(labels: TokenLabels | None) -> dict[str, int]:
    """Where tokens were chosen: how many, and of how many."""
    if labels is None:
        return {}
    weights = [weights for _, weights in labels.rows.values()]
    return {"kept_reply_tokens": int(sum(np.count_nonzero(row) for row in weights)), "reply_tokens": sum(map(len, weights))}


def _rewritten_counts(picks: Picks, exported: tuple[Pool, np.ndarray] | None) -> dict[str, Any]:
    """Where replies were rewritten: how many, by what was changed, and how many rows became equal to another."""
    if exported is None or picks.rewritten is None:
        return {}
    changes = Counter(one.change for one in picks.rewritten if one is not None)
    return {"rewritten": dict(sorted(changes.items())), "rewritten_alike": len(picks) - len(exported[0])}


def _picks_frame(prepared: Prepared, scores: RowScore, picks: Picks) -> pl.DataFrame:
    ids = prepared.pool.row_ids
    return pl.DataFrame(
        {
            "row_id": pl.Series([ids[i] for i in picks.index], dtype=pl.String),
            "rank": pl.Series(np.arange(1, len(picks) + 1), dtype=pl.Int64),
            "score": pl.Series(scores.values[picks.index], dtype=pl.Float64).fill_nan(None),
            "gain": pl.Series(picks.gain, dtype=pl.Float64).fill_nan(None),
            "stratum": pl.Series(picks.stratum, dtype=pl.String),
            "reason": pl.Series(picks.reason, dtype=pl.String),
        }
    )


def _filled(picks: Picks, prepared: Prepared, budget: Budget, rng: np.random.Generator) -> Picks:
    limit = budget.limit(prepared.table["tokens"].to_numpy())
    lengths = prepared.table["response_tokens"].to_numpy()
    left = np.setdiff1d(np.arange(len(prepared.pool)), picks.index)
    order = rng.permutation(left)
    room = limit.capacity - limit.costs[picks.index].sum()
    extra = order[: int(np.searchsorted(np.cumsum(limit.costs[order]), room, side="right"))]
    if not len(extra):
        return picks
    return Picks(
        np.concatenate([picks.index, extra]),
        np.concatenate([picks.gain, np.full(len(extra), np.nan)]),
        [*picks.stratum, *[None] * len(extra)],
        [*picks.reason, *["filled at random"] * len(extra)],
        picks.nulls,
        f"{picks.shortfall} {len(extra):,} were filled in at random.",
        None if picks.tokens is None else [*picks.tokens, *[np.ones(n, np.float32) for n in lengths[extra]]],
        picks.remarks,
        None if picks.rewritten is None else [*picks.rewritten, *[None] * len(extra)],
    )
