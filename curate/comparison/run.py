"""Compare selections: train on each at equal tokens, evaluate, and say which are better than random."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from curate import progress
from curate.budget import Budget
from curate.comparison.arms import Arm, ArmResult, Bench
from curate.comparison.statistics import Difference, answer, holm, paired_difference, weights_by_source, what_it_would_take
from curate.comparison.verdict import Verdict, headline, lower_is_better
from curate.engine import Engine
from curate.errors import InputError
from curate.evaluation.tasks import Task
from curate.jobs import Job
from curate.lm.models import ModelSpec
from curate.manifests import made_from
from curate.method import Method
from curate.preparation import PoolLike, Prepared, as_method, as_model, as_pool, as_tasks, choose, prepare, signal
from curate.registry import label
from curate.requests import Embedder
from curate.training.config import TrainConfig
from curate.versions import versions

if TYPE_CHECKING:
    from curate.pool import Pool

CONTROLS = ("random", "balanced", "longest")
DEFAULT_EPOCHS = 3.0


@dataclass(frozen=True)
class Design:
    """What a comparison holds fixed."""

    methods: tuple[Method, ...]
    budgets: tuple[Budget, ...]
    seeds: tuple[int, ...]
    recipe: TrainConfig
    margin: float
    confidence: float


def compare(
    pool: PoolLike,
    methods: Sequence[str | Method],
    *,
    budgets: Sequence[Budget | str | int | float] = ("10%",),
    evals: Mapping[str, PoolLike] | PoolLike | Sequence[Task],
    seeds: int = 3,
    tokens: int | None = None,
    epochs: float | None = None,
    model: str | Path | ModelSpec | None = None,
    scorer_model: str | Path | ModelSpec | None = None,
    target: PoolLike | None = None,
    existing: PoolLike | None = None,
    engine: Engine | None = None,
    recipe: TrainConfig | None = None,
    embedder: str | Embedder = "hidden",
    full: bool = True,
    margin: float = 0.01,
    confidence: float = 0.95,
    seed: int = 0,
) -> Verdict:
    """Train on each method's picks at each budget, and on random picks, at equal tokens, and compare on held-out rows.

    budgets   as for `select`. tokens: processed tokens of each training; by default `epochs` (3) of the largest budget.
    evals     held-out conversations: a path or Pool, or several by name; the first is the primary one.
    seeds     how many; seed s draws random picks, fits, initialises and shuffles alike in every arm.
    recipe    the training settings of all arms; its length is set here.
    embedder  for methods that compare rows: hidden, tfidf or a sentence-transformers model (`curate.embedding`).
    full      also train on the whole pool: at equal tokens, and for one epoch as a ceiling outside the tests.
    margin    what counts as equivalent, as a fraction of the metric under random picks.

    random, balanced and longest are always in. Raises InputError for whatever is wrong with the input.
    """
    setup = set_up(
        pool, methods, budgets=budgets, evals=evals, seeds=seeds, tokens=tokens, epochs=epochs, model=model,
        scorer_model=scorer_model, target=target, existing=existing, engine=engine, recipe=recipe,
        embedder=embedder, margin=margin, confidence=confidence, seed=seed,
    )  # fmt: skip
    select_seconds, arms = _choose_all(setup.bench.engine, setup.prepared, setup.design)
    if full:
        arms += _full_arms(setup.prepared, setup.design)
    arms.append(Arm("untrained", "0", seed, (), None))
    results = _run_all(setup.bench.engine, setup.bench, arms)

    def conclude() -> Verdict:
        verdict = _conclude(setup.design, setup.bench, results, select_seconds, setup.remarks, setup.config)
        return replace(verdict, manifest=_manifest(setup), pool=setup.prepared.pool, unusable=setup.prepared.unusable)

    [verdict] = setup.bench.engine.executor.run([Job("verdict", "verdict", conclude)])
    return verdict


@dataclass(frozen=True)
class Setup:
    """A comparison before anything of it has run: everything tokenised, everything at fault said."""

    design: Design
    bench: Bench
    prepared: Prepared
    remarks: list[str]
    config: dict[str, Any]


def set_up(
    pool: PoolLike,
    methods: Sequence[str | Method],
    *,
    budgets: Sequence[Budget | str | int | float] = ("10%",),
    evals: Mapping[str, PoolLike] | PoolLike | Sequence[Task],
    seeds: int = 3,
    tokens: int | None = None,
    epochs: float | None = None,
    model: str | Path | ModelSpec | None = None,
    scorer_model: str | Path | ModelSpec | None = None,
    target: PoolLike | None = None,
    existing: PoolLike | None = None,
    engine: Engine | None = None,
    recipe: TrainConfig | None = None,
    embedder: str | Embedder = "hidden",
    margin: float = 0.01,
    confidence: float = 0.95,
    seed: int = 0,
) -> Setup:
    """What `compare` is given, checked and tokenised."""
    if seeds < 1:
        raise InputError(f"seeds must be at least 1, not {seeds}")
    if tokens is not None and epochs is not None:
        raise InputError("give tokens or epochs, not both")
    for name, value in (("tokens", tokens), ("epochs", epochs)):
        if value is not None and not value > 0:
            raise InputError(f"{name} must be above 0, not {value}")
    if not margin >= 0:
        raise InputError(f"the margin must be at least 0, not {margin}")
    chosen = _with_controls(methods)
    sizes = tuple(dict.fromkeys(Budget.parse(budget) for budget in budgets))
    if not sizes:
        raise InputError("give at least one budget")
    engine, spec = engine or Engine(), as_model(model)
    base = recipe or TrainConfig()
    whole = as_pool(pool)
    tasks = as_tasks(evals)
    if not tasks:
        raise InputError("give at least one evaluation set")
    if len({task.name for task in tasks}) < len(tasks):
        raise InputError("two evaluation sets have the same name")
    remarks = _overlaps(whole, tasks, None if target is None else as_pool(target))
    prepared = prepare(
        engine,
        whole,
        model=spec,
        scorer_model=None if scorer_model is None else as_model(scorer_model),
        target=None if target is None else as_pool(target),
        existing=None if existing is None else as_pool(existing),
        recipe=base,
        embedder=embedder,
        seed=seed,
    )
    remarks = [*_too_large(prepared, sizes), *remarks]
    total = tokens or round((epochs or DEFAULT_EPOCHS) * _largest(prepared, sizes))
    design = Design(
        chosen,
        sizes,
        tuple(range(seed, seed + seeds)),
        base.model_copy(update={"tokens": total, "epochs": None, "steps": None}),
        margin,
        confidence,
    )
    held_out = [(task, engine.add(f"eval {task.name}", task.pool, spec)[1]) for task in tasks]
    bench = Bench(engine, spec, prepared.rows, held_out, prepared.pool.repeats)
    return Setup(design, bench, prepared, remarks, _config(design, spec, prepared, total))


def _with_controls(methods: Sequence[str | Method]) -> tuple[Method, ...]:
    wanted = [as_method(method) for method in (*CONTROLS, *methods)]
    return tuple({label(method): method for method in wanted}.values())


def _overlaps(pool: "Pool", tasks: Sequence[Task], target: "Pool | None") -> list[str]:
    remarks = []
    for task in tasks:
        held_out = set(task.pool.row_ids)
        if target is not None and held_out & set(target.row_ids):
            raise InputError(f"{len(held_out & set(target.row_ids))} rows of the target are in the evaluation set {task.name}")
        shared = len(held_out & set(pool.row_ids))
        if shared == len(held_out):
            raise InputError(f"every conversation of the evaluation set {task.name} is in the pool; hold some out")
        if shared:
            remarks.append(f"{shared} of {len(held_out)} conversations of the evaluation set {task.name} are in the pool too.")
    return remarks


def _too_large(prepared: Prepared, budgets: Sequence[Budget]) -> list[str]:
    """Budgets that hold the whole pool compare nothing."""
    tokens = prepared.table["tokens"].to_numpy()
    whole = [str(budget) for budget in budgets if budget.limit(tokens).capacity >= budget.limit(tokens).costs.sum()]
    return [f"A budget of {', '.join(whole)} holds the whole pool: its arms train on the same rows."] if whole else []


def _largest(prepared: Prepared, budgets: Sequence[Budget]) -> float:
    """Tokens that the largest budget holds, on average over rows."""
    tokens = prepared.table["tokens"].to_numpy()
    limits = [budget.limit(tokens) for budget in budgets]
    share = [min(1.0, limit.capacity / limit.costs.sum()) for limit in limits]
    return max(share) * float(tokens.sum())


def _choose_all(engine: Engine, prepared: Prepared, design: Design) -> tuple[dict[str, float], list[Arm]]:
    """The arms of every method, budget and seed. What neither draws nor fits is chosen once."""
    seconds: dict[str, float] = {}
    arms: list[Arm] = []
    first: dict[tuple[str, str], tuple[int, ...]] = {}
    for seed in design.seeds:
        here = replace(prepared, data=replace(prepared.data, seed=seed))
        seen = engine.gather(design.methods, here.data)

        def pick(method: Method, here: Prepared = here, seen: Any = seen) -> list[tuple[int, ...]]:
            found = signal(engine, here, method, seen)
            picks = [choose(here, method, found, budget) for budget in design.budgets]
            return [tuple(sorted(p.index.tolist())) for p in picks]

        names = [label(method) for method in design.methods]
        jobs = [
            Job("selection", f"select by {name}, seed {seed}", lambda method=method, pick=pick: pick(method))  # type: ignore[misc]
            for name, method in zip(names, design.methods, strict=True)
        ]
        for name, method, found in zip(names, design.methods, engine.executor.run(jobs), strict=True):
            seconds[name] = max(seconds.get(name, 0.0), engine.seconds(seen, method))
            for budget, positions in zip(design.budgets, found, strict=True):
                if not positions:
                    raise InputError(f"{name} picks no row at a budget of {budget}")
                arms.append(Arm(name, str(budget), seed, positions, design.recipe.model_copy(update={"seed": seed})))
                first.setdefault((name, str(budget)), positions)
    return seconds, arms


def _full_arms(prepared: Prepared, design: Design) -> list[Arm]:
    everything = tuple(range(len(prepared.pool)))
    arms = []
    for seed in design.seeds:
        arms.append(Arm("full", "100%", seed, everything, design.recipe.model_copy(update={"seed": seed})))
        arms.append(Arm("full, 1 epoch", "100%", seed, everything, design.recipe.trained_for(1.0, seed)))
    return arms


def _run_all(engine: Engine, bench: Bench, arms: Sequence[Arm]) -> dict[Arm, ArmResult]:
    with progress.task("train and evaluate arms", len(arms), "arms") as advance:

        def run(arm: Arm) -> ArmResult:
            result = bench.run(arm)
            advance(1)
            return result

        jobs = [Job("arm", f"train and evaluate {arm.name}", lambda arm=arm: run(arm)) for arm in arms]  # type: ignore[misc]
        return dict(zip(arms, engine.executor.run(jobs), strict=True))


def _config(design: Design, model: ModelSpec, prepared: Prepared, tokens: int) -> dict[str, Any]:
    return {
        "model": model.label,
        "scorer_model": prepared.data.model.label,
        "embedder": prepared.data.embedder.label,
        "pool_rows": len(prepared.pool),
        "pool_tokens": int(prepared.table["tokens"].sum()),
        "train_tokens": tokens,
        "seeds": list(design.seeds),
        "budgets": [str(budget) for budget in design.budgets],
        "methods": [label(method) for method in design.methods],
        "recipe": design.recipe.model_dump(mode="json"),
        "margin": design.margin,
        "confidence": design.confidence,
    }


def _manifest(setup: Setup) -> dict[str, Any]:
    return {"curate": versions(), **made_from(setup.bench.engine, setup.prepared, setup.bench.model)}


# From results to answers ----------------------------------------------------------------------------------------------


def _conclude(
    design: Design,
    bench: Bench,
    results: Mapping[Arm, ArmResult],
    select_seconds: Mapping[str, float],
    remarks: Sequence[str],
    config: dict[str, Any],
) -> Verdict:
    grouped: dict[tuple[str, str], list[tuple[Arm, ArmResult]]] = {}
    for arm, result in results.items():
        grouped.setdefault((arm.method, arm.budget), []).append((arm, result))
    largest = str(max(design.budgets, key=lambda budget: len(grouped["random", str(budget)][0][0].positions)))
    rows: list[dict[str, Any]] = []
    sentences: list[str] = []
    for number, (task, _) in enumerate(bench.tasks):
        weights, strata = _weights(task, next(iter(results.values())))
        table: list[tuple[dict[str, Any], Difference | None]] = []
        for (method, budget), members in grouped.items():
            control = grouped["random", budget if ("random", budget) in grouped else largest]
            table.append(_row(task, method, budget, members, control, weights, strata, design, select_seconds, number == 0))
        family = [i for i, (row, _) in enumerate(table) if row["in_family"]]
        adjusted = holm([table[i][0]["p_value"] if table[i][0]["p_value"] is not None else np.nan for i in family])
        for i, p in zip(family, adjusted, strict=True):
            row, difference = table[i]
            assert difference is not None
            row["p_holm"] = None if np.isnan(p) else float(p)
            scale = abs(row["mean"] - row["diff_from_random"]) if task.metric == "response_loss" else 1.0
            row["answer"] = answer(
                difference,
                p,
                margin=design.margin * scale,
                lower_is_better=lower_is_better(task.metric),
                alpha=1 - design.confidence,
            )
            if row["answer"] == "undecided" and not _said(sentences, row):
                sentences.append(
                    f"{row['method']} at {row['budget']}: "
                    + what_it_would_take(difference, alpha=1 - design.confidence, family=len(family))
                )
        rows += [row for row, _ in table]
    once = sorted({row["method"] for row in rows if row["selections"] == 1 and row["in_family"] and row["method"] != "full"})
    notes = [
        *remarks,
        f"Every arm trained on about {config['train_tokens']:,} tokens; the difference from random is paired over "
        f"{'1 seed' if len(design.seeds) == 1 else f'{len(design.seeds)} seeds'} and {bench.tasks[0][1].size} evaluation items.",
    ]
    if once and len(design.seeds) > 1:
        notes.append(f"{', '.join(once)}: one selection for all seeds, so its answer holds for that selection.")
    return Verdict(rows, headline(rows, len(design.seeds)), [*notes, *sentences], config, _selections(bench, results))


def _selections(bench: Bench, results: Mapping[Arm, ArmResult]) -> pl.DataFrame:
    row_ids = np.array(bench.engine.encodings(bench.model, bench.rows).row_ids, dtype=object)
    parts = [
        pl.DataFrame(
            {"method": arm.method, "budget": arm.budget, "seed": arm.seed, "row_id": row_ids[list(arm.positions)].tolist()}
        )
        for arm in results
        if arm.positions and arm.method not in ("full", "full, 1 epoch")
    ]
    return pl.concat(parts)


def _said(sentences: Sequence[str], row: Mapping[str, Any]) -> bool:
    return any(sentence.startswith(f"{row['method']} at {row['budget']}:") for sentence in sentences)


def _weights(task: Task, result: ArmResult) -> tuple[np.ndarray, np.ndarray]:
    items = result.items.filter(pl.col("task") == task.name)
    strata = np.array(items["source"].fill_null("").to_list(), dtype=object)
    return weights_by_source(items["weight"].to_numpy(), strata), strata


def _row(
    task: Task,
    method: str,
    budget: str,
    members: Sequence[tuple[Arm, ArmResult]],
    control: Sequence[tuple[Arm, ArmResult]],
    weights: np.ndarray,
    strata: np.ndarray,
    design: Design,
    select_seconds: Mapping[str, float],
    primary: bool,
) -> tuple[dict[str, Any], Difference | None]:
    values = np.stack([result.values(task.name) for _, result in members])
    tested = method not in ("random", "untrained", "full, 1 epoch")
    difference = None
    if tested:
        against = np.stack([result.values(task.name) for _, result in control])
        difference = paired_difference(values, against, weights, strata, confidence=design.confidence)
    accounts = [result.account for _, result in members]
    row = {
        "method": method,
        "budget": budget,
        "task": task.name,
        "metric": task.metric,
        "rows": len(members[0][0].positions),
        "mean": float((values @ weights).mean()),
        "diff_from_random": _number(difference, "mean"),
        "ci_low": _number(difference, "ci_low"),
        "ci_high": _number(difference, "ci_high"),
        "p_value": _number(difference, "p_value"),
        "p_holm": None,
        "answer": None,
        "seeds": len(members),
        "train_tokens": round(_mean(accounts, "tokens")),
        "loss_tokens": round(_mean(accounts, "loss_tokens")),
        "epochs": _mean(accounts, "epochs"),
        "select_seconds": select_seconds.get(method, 0.0),
        "train_seconds": _mean(accounts, "seconds"),
        "in_family": tested and primary,
        "selections": len({arm.positions for arm, _ in members}),
        "note": "an unmatched ceiling, outside the tests" if method == "full, 1 epoch" else None,
    }
    return row, difference


def _number(difference: Difference | None, name: str) -> float | None:
    value = None if difference is None else getattr(difference, name)
    return None if value is None or np.isnan(value) else float(value)


def _mean(accounts: Sequence[Mapping[str, float]], name: str) -> float:
    return float(np.mean([account[name] for account in accounts]))
