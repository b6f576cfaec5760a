"""Scoring a pool and selecting from it: the library's main job."""

import json
import shlex
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from curate.answers import Seen
from curate.budget import Budget
from curate.embedding import make_embedder
from curate.embedding.sentence import encoder_folder
from curate.engine import Engine
from curate.errors import InputError
from curate.evaluation.tasks import Task
from curate.files import output_folder
from curate.jobs import Job
from curate.lm.models import ModelSpec
from curate.method import Data, Method
from curate.plan import Plan, fit_name, merge
from curate.pool import Pool, kept_repeats, read_pool, write_rows
from curate.pool import write_left_out as write_report
from curate.registry import label, make_method
from curate.requests import Embedder, Fit, SentenceEncoder, Vocabulary
from curate.resources import default_model
from curate.selectors.picks import Picks
from curate.signals import RowScore
from curate.stages import Stage
from curate.store import write_manifest
from curate.training.config import TrainConfig
from curate.versions import versions

if TYPE_CHECKING:
    from curate.requests import Rows

PoolLike = Pool | str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class Unusable:
    """A row of a pool that a model cannot use."""

    row_id: str
    file: str
    line: int
    reason: str


@dataclass
class Prepared:
    """A pool that every model of a run can use, and what methods may know of it."""

    pool: Pool
    rows: "Rows"
    data: Data
    table: pl.DataFrame  # row_id, source, tokens, response_tokens; sorted by row id
    unusable: tuple[Unusable, ...]  # by the model


def as_pool(pool: PoolLike, *, columns: Mapping[str, str] | None = None, limit: int | None = None) -> Pool:
    """A Pool as it is, anything else read from disk; the folder of a selection stands for the data in it.

    Rows that a selection holds several times are one row each, to be repeated. `columns`, `limit`: as for `read_pool`.
    """
    if isinstance(pool, Pool):
        return pool
    paths = [pool] if isinstance(pool, (str, Path)) else list(pool)
    data = [selected_data(path) for path in paths]
    selected = [file for path, file in zip(paths, data, strict=True) if file is not path]
    return kept_repeats(read_pool(data, columns=columns, limit=limit), selected)


def selected_data(path: str | Path) -> str | Path:
    """The data file inside a folder that `Selection.write` made; any other path as it is."""
    data = Path(path) / "data.parquet"
    return data if data.is_file() and (Path(path) / "manifest.json").is_file() else path


def as_model(model: str | Path | ModelSpec | None) -> ModelSpec:
    """A model by folder or hub name; None is the embedded one."""
    if isinstance(model, ModelSpec):
        return model
    return ModelSpec(str(model)) if model is not None else ModelSpec(str(default_model()))


def as_method(method: str | Method, settings: Mapping[str, Any] | None = None) -> Method:
    """A method by name (with settings), or as it is."""
    return method if isinstance(method, Method) else make_method(method, settings)


def as_embedder(embedder: str | Embedder, model: ModelSpec, rows: "Rows | None" = None) -> Embedder:
    """An embedder by name, or as it is; InputError when it is not to be had."""
    found = make_embedder(embedder, model, rows)
    if isinstance(found, SentenceEncoder):
        encoder_folder(found.name)
    return found


def as_tasks(evals: Mapping[str, PoolLike] | PoolLike | Sequence[Task]) -> list[Task]:
    """Evaluation tasks from conversations by name, or from one unnamed set."""
    if isinstance(evals, Mapping):
        return [Task(name, as_pool(rows)) for name, rows in evals.items()]
    if isinstance(evals, Sequence) and not isinstance(evals, str) and evals and all(isinstance(e, Task) for e in evals):
        return list(evals)  # type: ignore[arg-type]
    return [Task("eval", as_pool(evals))]  # type: ignore[arg-type]


def prepare(
    engine: Engine,
    pool: Pool,
    *,
    model: ModelSpec,
    scorer_model: ModelSpec | None = None,
    target: Pool | None = None,
    existing: Pool | None = None,
    recipe: TrainConfig | None = None,
    embedder: str | Embedder = "hidden",
    seed: int = 0,
) -> Prepared:
    """Tokenise the pool for the model to be trained and the one that scores, and leave out what they cannot use.

    embedder: as `curate.embedding.make_embedder` reads it; hidden states are of the model that scores, and TF-IDF learns
    from the pool.

    Raises InputError when no row is left.
    """
    scorer = scorer_model or model
    for named in (model, scorer):
        named.folder()  # a name at fault is said before anything is computed
    as_embedder(embedder, scorer)
    usable, rows, failed = engine.add("pool", pool, model)
    if scorer != model:
        usable, rows, more = engine.add("pool", usable, scorer)
        failed = {**failed, **more}
        usable, rows, _ = engine.add("pool", usable, model)
    others = {
        role: engine.add(role, other, scorer)[1]
        for role, other in (("target", target), ("existing", existing))
        if other is not None
    }
    data = Data(
        pool=rows, model=scorer, recipe=recipe or TrainConfig(), seed=seed, embedder=as_embedder(embedder, scorer, rows), **others
    )
    encodings = engine.encodings(model, rows)
    table = pl.DataFrame(
        {
            "row_id": usable.row_ids,
            "source": pl.Series(usable.sources, dtype=pl.String),
            "tokens": encodings.lengths,
            "response_tokens": encodings.response_lengths,
        }
    )
    return Prepared(usable, rows, data, table, unusable_rows(pool, failed))


def unusable_rows(pool: Pool, failed: Mapping[str, str]) -> tuple[Unusable, ...]:
    """The rows of a pool that a model cannot use, by file and line. failed: row id -> why."""
    at = [i for i, row_id in enumerate(pool.row_ids) if row_id in failed]
    places = pool.rows.select(["row_id", "file", "line"]).take(np.array(at, dtype=np.int64)).to_pylist()
    return tuple(sorted((Unusable(**place, reason=failed[place["row_id"]]) for place in places), key=lambda r: (r.file, r.line)))


def generator(seed: int, method: Method, purpose: str) -> np.random.Generator:
    """The stream of random numbers of one method and purpose: all of them come from the one seed."""
    return np.random.default_rng([seed, zlib.crc32(f"{label(method)}/{purpose}".encode())])


def signal(engine: Engine, prepared: Prepared, method: Method, seen: Mapping[Any, Any]) -> RowScore:
    """A method's score for every row of the prepared pool."""
    found = method.signal(prepared.data, seen, generator(prepared.data.seed, method, "signal"))
    if len(found) != len(prepared.pool):
        raise ValueError(f"{method.name} gave {len(found)} scores for {len(prepared.pool)} rows")
    return found


def choose(prepared: Prepared, method: Method, scores: RowScore, budget: Budget) -> Picks:
    """A method's picks within a budget."""
    limit = budget.limit(prepared.table["tokens"].to_numpy())
    return method.choose(scores, prepared.table, limit, generator(prepared.data.seed, method, "choose"))


@dataclass
class Scores:
    """Scores of one or more methods over a pool. `frame` has row_id, source, tokens, response_tokens, then for each
    method its score (null where it has none) and, where some are null, `<method>_null` with the reason."""

    frame: pl.DataFrame
    pool: Pool
    methods: list[str]
    preferences: dict[str, np.ndarray]  # by method: the score as its choice reads it, higher is kept first
    stages: list[Stage]
    counts: dict[str, int]  # rows_in and what it is the sum of: rows_pool, rows_rejected, rows_duplicate, ...
    manifest: dict[str, Any]
    unusable: tuple[Unusable, ...] = ()

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
    chosen = list({label(method): method for method in given}.values())
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
    )
    seen = engine.gather(chosen, prepared.data)
    columns: list[pl.Series] = []
    preferences = {}
    for method in chosen:
        found = signal(engine, prepared, method, seen)
        preferences[label(method)] = method.preference(found)
        columns.append(pl.Series(label(method), found.values, dtype=pl.Float64).fill_nan(None))
        if found.is_null.any():
            columns.append(pl.Series(f"{label(method)}_null", found.reasons.tolist(), dtype=pl.String))
    counted = counts(whole, prepared.pool)
    manifest = {
        "curate": versions(),
        "methods": [{"name": m.name, "settings": m.model_dump(mode="json"), "paper": m.paper} for m in chosen],
        "embedder": prepared.data.embedder.label,
        **made_from(engine, prepared, spec),
        "fits": _fits(engine, prepared, seen),
        "seed": seed,
        "counts": counted,
    }
    return Scores(
        prepared.table.with_columns(columns),
        prepared.pool,
        list(preferences),
        preferences,
        engine.stages,
        counted,
        manifest,
        prepared.unusable,
    )


def made_from(engine: Engine, prepared: Prepared, model: ModelSpec) -> dict[str, Any]:
    """What a manifest says of the models, the pool, the work done and the artifacts of the store."""
    scorer = prepared.data.model
    return {
        "model": {"name": model.name, "fingerprint": engine.model_hash(model)},
        "scorer_model": {"name": scorer.name, "fingerprint": engine.model_hash(scorer)},
        "encoding": engine.encoding_spec(model),
        "recipe": prepared.data.recipe.model_dump(mode="json"),
        **worked_on(engine, prepared.pool),
    }


def worked_on(engine: Engine, pool: Pool) -> dict[str, Any]:
    """The part of a manifest that needs no model: the pool, the work done and the artifacts of the store."""
    report = pool.report
    return {
        "pool": {
            "files": list(report.files),
            "fingerprint": pool.fingerprint,
            "shapes": report.shapes,
            "refined": dict(report.refined),
        },
        "stages": [vars(stage) for stage in engine.stages],
        "notes": engine.notes,
        "store": engine.store.provenance(),
    }


def _fits(engine: Engine, prepared: Prepared, seen: Seen) -> list[dict[str, Any]]:
    """Which fit scored the rows: a kept one was fitted on some of them and on others that are gone."""
    found, asked = [], merge(seen.known)
    fits: list[Fit | Vocabulary] = [*asked.fits, *asked.vocabularies]
    for fit in fits:
        folder, _ = engine.serving(fit)
        on = set((folder / "rows.txt").read_text().split())
        known = len(on & set(prepared.pool.row_ids))
        rows = {"fitted_on": len(on), "scored": len(prepared.pool), "scored_and_fitted_on": known}
        found.append({"asked": fit_name(fit), "artifact": f"fits/{folder.name}", "rows": rows})
    return found


def write_left_out(pool: Pool, unusable: Sequence[Unusable], folder: Path) -> None:
    """The rows that the pool leaves out, a file for each cause; those that the model cannot use go to rejected.jsonl."""
    write_report(pool.report, folder)
    with (folder / "rejected.jsonl").open("a") as file:
        file.writelines(json.dumps(asdict(row)) + "\n" for row in unusable)


@dataclass
class Selection:
    """What a method picked from a pool, and everything needed to export and replay it.

    frame   row_id, rank (from 1), score, gain, stratum, reason; in rank order
    scores  row_id, score, null_reason of every usable row
    """

    frame: pl.DataFrame
    scores: pl.DataFrame
    pool: Pool
    positions: np.ndarray
    summary: dict[str, Any]
    manifest: dict[str, Any]
    unusable: tuple[Unusable, ...] = ()

    def __len__(self) -> int:
        return len(self.frame)

    def _card(self) -> str:
        """A dataset card, so that `datasets.load_dataset(folder)` reads the data and nothing else there."""
        s = self.summary
        return (
            "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data.parquet\n---\n\n"
            f"{s['selected']:,} of {s['rows_pool']:,} conversations, selected by `curate` with {s['method']} at {s['budget']}, "
            "best first.\n`selection.parquet` says why each was picked, `manifest.json` how to pick them again.\n"
        )

    def write(self, out: str | Path, *, shape: str = "original", overwrite: bool = False) -> None:
        """The picks, the data in rank order (Parquet, JSONL, trainer snippets), rejected rows and the manifest.

        `shape` is `original` (the user's own columns) or `messages`. The folder appears whole or not at all.
        """
        with output_folder(out, overwrite=overwrite) as folder:
            self.frame.write_parquet(folder / "selection.parquet")
            self.scores.write_parquet(folder / "scores.parquet")
            if len(self.positions):
                write_rows(self.pool, self.pool.repeated(self.positions), folder, shape=shape)  # type: ignore[arg-type]
            write_left_out(self.pool, self.unusable, folder)
            (folder / "README.md").write_text(self._card())
            write_manifest(folder / "manifest.json", self.manifest)


def plan(
    pool: PoolLike,
    methods: Sequence[str | Method],
    *,
    engine: Engine,
    model: str | Path | ModelSpec | None = None,
    recipe: TrainConfig | None = None,
    embedder: str | Embedder = "hidden",
    seed: int = 0,
) -> tuple[Plan, Prepared]:
    """What scoring would run in its first round, without running it (the pool is tokenised). `model` scores."""
    prepared = prepare(engine, as_pool(pool), model=as_model(model), recipe=recipe, embedder=embedder, seed=seed)
    return merge([r for m in methods for r in as_method(m).requests(prepared.data, {})]), prepared


def select(
    pool: PoolLike,
    method: str | Method = "lobass",
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
    spec, scorer = as_model(model), None if scorer_model is None else as_model(scorer_model)
    prepared = prepare(
        engine,
        whole,
        model=spec,
        scorer_model=scorer,
        target=None if target is None else as_pool(target),
        existing=None if existing is None else as_pool(existing),
        recipe=recipe,
        embedder=embedder,
        seed=seed,
    )
    seen = engine.gather([chosen], prepared.data)

    def pick() -> tuple[RowScore, Picks]:
        scores = signal(engine, prepared, chosen, seen)
        return scores, choose(prepared, chosen, scores, parsed)

    [(scores, picks)] = engine.executor.run([Job("selection", f"select {parsed} by {label(chosen)}", pick)])
    if fill == "random" and picks.shortfall:
        picks = _filled(picks, prepared, parsed, generator(seed, chosen, "fill"))
    frame = _picks_frame(prepared, scores, picks)
    computed = engine.computed_rows(prepared.rows)
    summary = {
        "method": label(chosen),
        "budget": str(parsed),
        "model": spec.label,
        "scorer_model": (scorer or spec).label,
        **counts(whole, prepared.pool),
        "selected": len(frame),
        "written": len(prepared.pool.repeated(picks.index)),
        "selected_tokens": int(prepared.table["tokens"].to_numpy()[picks.index].sum()),
        "pool_tokens": int(prepared.table["tokens"].sum()),
        "rows_null": picks.nulls,
        "shortfall": picks.shortfall,
        "computed_rows": computed,
        "reused_rows": len(prepared.pool) - computed,
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
        "fits": _fits(engine, prepared, seen),
        "counts": summary,
    }
    all_scores = pl.DataFrame(
        {
            "row_id": prepared.pool.row_ids,
            "score": pl.Series(scores.values).fill_nan(None),
            "null_reason": pl.Series(scores.reasons.tolist(), dtype=pl.String),
        }
    )
    return Selection(frame, all_scores, prepared.pool, picks.index, summary, manifest, prepared.unusable)


def counts(whole: Pool, usable: Pool) -> dict[str, int]:
    """rows_in, and what it is the sum of; `usable`: what a model can use of the whole, the rest counts as rejected.

    Of a part of what was read, that part is what comes in.
    """
    found = whole.report.counts
    if len(whole) < found["rows_pool"]:
        found = {**dict.fromkeys(found, 0), "rows_in": len(whole)}
    return {**found, "rows_pool": len(usable), "rows_rejected": found["rows_rejected"] + len(whole) - len(usable)}


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
    left = np.setdiff1d(np.arange(len(prepared.pool)), picks.index)
    order = rng.permutation(left)
    room = limit.capacity - limit.costs[picks.index].sum()
    extra = order[: int(np.searchsorted(np.cumsum(limit.costs[order]), room, side="right"))]
    return Picks(
        np.concatenate([picks.index, extra]),
        np.concatenate([picks.gain, np.full(len(extra), np.nan)]),
        [*picks.stratum, *[None] * len(extra)],
        [*picks.reason, *["filled at random"] * len(extra)],
        picks.nulls,
        f"{picks.shortfall} {len(extra):,} were filled in at random.",
    )
