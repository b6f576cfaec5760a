"""Running recipes: stages in a row, each on what the one before kept."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curate.asked import asked, placed, set_and_all
from curate.budget import Budget
from curate.comparison import compare
from curate.comparison.overlap import refuse_target_overlap
from curate.earlier import Earlier, given, number_or_nan
from curate.engine import Engine
from curate.evaluation.tasks import Task
from curate.exports import Chosen
from curate.files import output_folder
from curate.manifests import worked_on
from curate.pool import Pool, accounted_anew, read_pool, refine, write_left_out
from curate.preparation import as_model, as_pool, as_tasks, refuse_rewriting
from curate.recipe import EVALS, CompareStage, Recipe, RefineStage, SelectStage, TrainStage
from curate.selection import labels_of, select
from curate.store import write_manifest
from curate.training.config import TrainConfig
from curate.tuning import train
from curate.versions import versions
from curate.wording import account_of, counted

Done = dict[str, Any]


@dataclass(frozen=True)
class Kept:
    """What the stages so far have kept: the rows, in `pool.labels` their tokens, in `pool.policy` how trainings choose tokens.

    order   row ids, best first by the last selection.
    cost    seconds and FLOPs that the stages took to choose; NaN where one does not know.
    """

    pool: Pool
    order: tuple[str, ...]
    cost: tuple[float, float] = (0.0, 0.0)

    def after(self, pool: Pool, order: Iterable[str], seconds: float, flops: float) -> "Kept":
        """What a further stage left, and with what that stage took."""
        return Kept(pool, tuple(order), (self.cost[0] + seconds, self.cost[1] + flops))


def run_recipe(recipe: Recipe, *, out: str | Path, engine: Engine, overwrite: bool = False) -> list[Done]:
    """Run the stages in order. Each writes its folder `<number>-<verb>` in `out`; returns what each did, as text too."""
    _tasks(recipe)  # one that cannot be read is said now, and not when all is chosen
    shared: dict[str, Any] = {
        "model": None if recipe.model is None else as_model(recipe.model_path(recipe.model)),
        "scorer_model": None if recipe.scorer_model is None else as_model(recipe.model_path(recipe.scorer_model)),
        "embedder": recipe.model_path(recipe.embedder),
        "target": None if recipe.target is None else _target(recipe, recipe.target, engine),
        "existing": None if recipe.existing is None else as_pool(recipe.path(recipe.existing)),
        "engine": engine,
    }
    whole = as_pool([recipe.path(text) for text in recipe.pool], limit=recipe.limit)
    whole = refined(recipe, whole, recipe)
    replay = _asked(recipe, engine, whole, shared)
    kept = Kept(whole, tuple(whole.row_ids))
    results: list[Done] = []
    with output_folder(out, overwrite=overwrite) as folder:
        for number, stage in enumerate(recipe.stages, 1):
            if stage.refine is not None:
                kept, done = _refine(stage.refine, recipe, kept, folder / f"{number}-refine", shared)
            elif stage.select is not None:
                kept, done = _select(stage.select, recipe, kept, folder / f"{number}-select", shared)
            elif stage.train is not None:
                done = _train(stage.train, kept.pool, folder / f"{number}-train", shared)
            elif stage.compare is not None:
                done = _compare(stage.compare, recipe, whole, kept, folder / f"{number}-compare", shared)
            results.append({**done, "text": f"{number} {done['text']}"})
        write_manifest(
            folder / "manifest.json", {"curate": versions(), "recipe": replay["arguments"]["recipe"]["all"], "replay": replay}
        )
    return results


def _asked(recipe: Recipe, engine: Engine, whole: Pool, shared: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest says of the run: the recipe in full, and all that it reads as it was when the run began."""
    methods = [recipe.method(stage.select.method, stage.select.settings) for stage in recipe.stages if stage.select]
    methods += [recipe.method(text) for stage in recipe.stages if stage.compare for text in stage.compare.methods]
    others = [shared[role] for role in ("target", "existing") if shared[role] is not None]
    models = [as_model(shared["model"]), *([shared["scorer_model"]] if shared["scorer_model"] else [])]
    given = {"kind": "recipe", "folder": placed(recipe.folder), **set_and_all(recipe)}
    inputs = [whole, *others, *models, *_tasks(recipe).values(), *methods]
    return {**asked("run_recipe", engine, {}, inputs), "arguments": {"recipe": given}}


def _target(recipe: Recipe, path: str, engine: Engine) -> Pool:
    """The target without what the recipe decontaminates its pool of. Raises InputError where it overlaps an evaluation set."""
    target = as_pool(recipe.path(path))
    left = refine(target, decontaminate=_overlapped(recipe, recipe))
    if len(left) < len(target):
        engine.note(f"{counted(len(target) - len(left))} of the target overlap with what is decontaminated, and are left out")
    refuse_target_overlap(list(_tasks(recipe).values()), left)
    return left


def refined(recipe: Recipe, pool: Pool, asked: Recipe | RefineStage) -> Pool:
    """A pool refined as a stage says, or the recipe itself."""
    near, cap, repeat = asked.near_duplicates, asked.cap, asked.repeat
    sets = _overlapped(recipe, asked)
    return refine(pool, near_duplicates=near, decontaminate=sets, cap=cap, repeat=repeat, seed=asked.seed)


def _tasks(recipe: Recipe) -> dict[str, Task]:
    """What the recipe's comparisons judge on, by path. Raises InputError where one cannot be read."""
    return {recipe.path(file): as_tasks({name: recipe.path(file)})[0] for name, file in recipe.evals}


def _overlapped(recipe: Recipe, asked: Recipe | RefineStage) -> dict[str, Pool]:
    """The sets that nothing may overlap with, by name."""
    sets: dict[str, Pool] = {}
    for path in asked.decontaminate:
        if path == EVALS:
            sets |= {file: task.pool for file, task in _tasks(recipe).items()}
        else:
            sets[recipe.path(path)] = read_pool(recipe.path(path))
    return sets


def _refine(stage: RefineStage, recipe: Recipe, kept: Kept, folder: Path, shared: dict[str, Any]) -> tuple[Kept, Done]:
    start = time.perf_counter()
    pool = refined(recipe, kept.pool, stage)
    left, counts = set(pool.row_ids), pool.report.counts
    found = kept.after(
        accounted_anew(pool), (row_id for row_id in kept.order if row_id in left), time.perf_counter() - start, 0.0
    )
    with output_folder(folder) as out:
        said = f"{len(pool):,} conversations, refined by `curate`.\n`manifest.json` says how."
        _chosen(pool, pool.positions(found.order), shared).write(out, said)
        write_left_out(pool.report, out)
        asked, made = stage.model_dump(mode="json", exclude_unset=True), worked_on(shared["engine"], pool)
        policy = {} if pool.policy is None else {"recipe": pool.policy}
        write_manifest(out / "manifest.json", {"curate": versions(), "refine": asked, **policy, "counts": counts, **made})
    return found, {"stage": "refine", "text": f"refine: {account_of(counts)}", **counts}


def _chosen(pool: Pool, positions: np.ndarray, shared: dict[str, Any]) -> Chosen:
    """Rows as a selection writes them; the tokens are of those that the model can use."""
    engine, model = shared["engine"], as_model(shared["model"])
    if pool.labels is None:
        return Chosen(pool, positions, model.name, policy=pool.policy)
    _, rows, _ = engine.add("pool", pool, model)
    labels, scored = labels_of(engine.encodings(model, rows), pool.labels)
    return Chosen(pool, positions, model.name, labels, scored, pool.policy)


def _select(stage: SelectStage, recipe: Recipe, kept: Kept, folder: Path, shared: dict[str, Any]) -> tuple[Kept, Done]:
    method = recipe.method(stage.method, stage.settings)
    refuse_rewriting([method], "a recipe")
    picked = select(kept.pool, method, budget=Budget.parse(stage.budget), seed=stage.seed, **shared)
    picked.write(folder)
    took = number_or_nan(picked.summary["select_seconds"]), number_or_nan(picked.summary["select_flops"])
    pool = picked.pool.take(picked.positions).with_labels(picked.labels).with_policy(picked.policy)
    made = picked.summary
    text = f"select: {made['method']} kept {len(picked):,} of {made['rows_pool']:,} rows{_tokens(made)}"
    done = {"stage": "select", "text": text, **made}
    return kept.after(pool, picked.frame["row_id"].to_list(), *took), done


def _tokens(summary: Mapping[str, Any]) -> str:
    if "kept_reply_tokens" not in summary:
        return ""
    return f" and {summary['kept_reply_tokens']:,} of their {summary['reply_tokens']:,} reply tokens"


def _train(stage: TrainStage, pool: Pool, folder: Path, shared: dict[str, Any]) -> Done:
    recipe = TrainConfig(**stage.model_dump(exclude_unset=True))
    account = train(pool, out=folder, recipe=recipe, model=shared["model"], engine=shared["engine"])
    loss = f"loss {account['first_loss']:.3f} in the first batch, {account['last_loss']:.3f} in the last"
    text = f"train: {account['tokens']:,} tokens; {loss}"
    return {"stage": "train", "text": text, **account}


def _compare(stage: CompareStage, recipe: Recipe, whole: Pool, kept: Kept, folder: Path, shared: dict[str, Any]) -> Done:
    methods = [recipe.method(text) for text in stage.methods]
    if stage.title is not None:
        earlier = Earlier(kept.order, kept.pool.labels, kept.cost, kept.pool.policy)
        methods.insert(0, given(earlier, stage.title))
    verdict = compare(
        kept.pool if stage.title is None else whole,
        methods,
        budgets=stage.budgets or ("10%" if stage.title is None else len(kept.order),),
        evals={name: recipe.path(path) for name, path in stage.evals.items()},
        seeds=stage.seeds,
        tokens=stage.tokens,
        epochs=stage.epochs,
        full=stage.full,
        margin=stage.margin,
        second_rate=stage.second_rate,
        recipe=stage.train,
        **shared,
    )
    verdict.write(folder)
    return {"stage": "compare", "text": f"compare: {verdict.headline}", **verdict.to_json()}
