"""What a comparison holds fixed: everything that was asked, checked and tokenised before anything of it runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from curate.asked import asked
from curate.budget import Budget
from curate.comparison.arms import Bench
from curate.comparison.overlap import refuse_overlap
from curate.engine import Engine
from curate.errors import InputError
from curate.evaluation.tasks import Task
from curate.lm.models import ModelSpec
from curate.method import Method
from curate.preparation import (
    HeldOut,
    MethodLike,
    PoolLike,
    Prepared,
    as_methods,
    as_model,
    as_pool,
    as_tasks,
    counts,
    cut_said,
    hold_out,
    prepare,
    refuse_rewriting,
)
from curate.registry import by_label, label
from curate.requests import Embedder
from curate.training.config import TrainConfig
from curate.wording import counted

CONTROLS = ("random", "balanced", "longest")
DEFAULT_EPOCHS = 3.0
Matched = Literal["leaders", "all", "none"]
SECOND_RATE = 0.333  # of the learning rate: far enough to change the training, near enough to be a rate one would try


@dataclass(frozen=True)
class Design:
    """What a comparison holds fixed.

    second_rate: the learning rate at which the winner is tried again, as a multiple of the first; None to leave that out.
    matched: which selections are held against random rows with replies as long: the leaders at each budget, all, or none.
    """

    methods: tuple[Method, ...]
    budgets: tuple[Budget, ...]
    seeds: tuple[int, ...]
    recipe: TrainConfig
    margin: float
    confidence: float
    full: bool = True
    second_rate: float | None = SECOND_RATE
    matched: Matched = "leaders"

    @property
    def alpha(self) -> float:
        """The level of the tests."""
        return 1 - self.confidence

    def largest(self, tokens: np.ndarray) -> Budget:
        """The budget that holds most of rows with so many tokens, int64 [n]; the first of several that do."""
        return max(self.budgets, key=lambda budget: _share(budget, tokens))


@dataclass(frozen=True)
class Setup:
    """A comparison before anything of it has run. account: rows in and what they are the sum of (`preparation.counts`)."""

    design: Design
    bench: Bench
    prepared: Prepared
    remarks: list[str]
    account: dict[str, int]
    asked: dict[str, Any]  # for the manifest

    @property
    def config(self) -> dict[str, Any]:
        """What the verdict rests on, for people and machines."""
        design, prepared = self.design, self.prepared
        return {
            "model": self.bench.model.label,
            "scorer_model": prepared.data.model.label,
            "embedder": prepared.data.embedder.label,
            "pool_rows": len(prepared.pool),
            "pool_tokens": int(prepared.table["tokens"].sum()),
            "train_tokens": design.recipe.tokens,
            "seeds": list(design.seeds),
            "budgets": [str(budget) for budget in design.budgets],
            "methods": [label(method) for method in design.methods],
            "recipe": design.recipe.model_dump(mode="json"),
            "margin": design.margin,
            "confidence": design.confidence,
            "second_rate": design.second_rate,
            "matched": design.matched,
        }


def set_up(
    pool: PoolLike,
    methods: MethodLike | Sequence[MethodLike],
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
    second_rate: float | None = SECOND_RATE,
    matched: Matched = "leaders",
    controls: Sequence[MethodLike] = CONTROLS,
    seed: int = 0,
) -> Setup:
    """What `compare` is given, checked and tokenised."""
    if seeds < 1:
        raise InputError(f"seeds must be at least 1, not {seeds}")
    if tokens is not None and epochs is not None:
        raise InputError("give tokens or epochs, not both")
    for name, value in (("tokens", tokens), ("epochs", epochs), ("second_rate", second_rate)):
        if value is not None and not value > 0:
            raise InputError(f"{name} must be above 0, not {value}")
    if second_rate == 1:
        raise InputError("second_rate 1 is the first learning rate again; give another multiple of it")
    if not margin >= 0:
        raise InputError(f"the margin must be at least 0, not {margin}")
    if not 0 < confidence < 1:
        raise InputError(f"the confidence must lie between 0 and 1, not {confidence}")
    if matched not in get_args(Matched):
        raise InputError(f"matched must be one of {', '.join(get_args(Matched))}, not {matched!r}")
    asked_for = as_methods(methods)
    chosen = _with_controls(controls, asked_for)
    sizes = tuple(dict.fromkeys(Budget.parse(budget) for budget in budgets))
    if not sizes:
        raise InputError("give at least one budget")
    engine, spec, scorer = engine or Engine(), as_model(model), None if scorer_model is None else as_model(scorer_model)
    refuse_rewriting(chosen, "a comparison")
    whole = as_pool(pool)
    base = (recipe or TrainConfig()).inheriting(whole.policy)
    tasks = as_tasks(evals)
    if not tasks:
        raise InputError("give at least one evaluation set")
    if len({task.name for task in tasks}) < len(tasks):
        raise InputError("two evaluation sets have the same name")
    aimed, held = None if target is None else as_pool(target), None if existing is None else as_pool(existing)
    refuse_overlap(whole, tasks, aimed)
    before = len(engine.notes)
    prepared = prepare(
        engine,
        whole,
        model=spec,
        scorer_model=scorer,
        target=aimed,
        existing=held,
        recipe=base,
        embedder=embedder,
        seed=seed,
        methods=chosen,
    )
    noted = [f"{note[0].upper()}{note[1:]}." for note in engine.notes[before:]]
    total = tokens or round((epochs or DEFAULT_EPOCHS) * _largest(prepared, sizes))
    design = Design(
        chosen,
        sizes,
        tuple(range(seed, seed + seeds)),
        base.model_copy(update={"tokens": total, "epochs": None, "steps": None}),
        margin,
        confidence,
        full,
        second_rate,
        matched,
    )
    held_out = [hold_out(engine, task, spec) for task in tasks]
    measured = [(held.task, held.rows) for held in held_out]
    bench = Bench(engine, spec, prepared.rows, measured, prepared.pool.repeats)
    cut = [cut_said(engine, rows, spec) for rows in (prepared.rows, *(held.rows for held in held_out))]
    remarks = [*noted, *_too_large(prepared, sizes), *_left_out(held_out), *(f"{said}." for said in cut if said)]
    account = counts(whole, prepared.pool, prepared.truncated)
    given = {
        "pool": whole, "methods": asked_for, "budgets": list(sizes), "evals": tasks,
        "seeds": seeds, "tokens": tokens, "epochs": epochs, "model": spec, "scorer_model": scorer, "target": aimed,
        "existing": held, "recipe": recipe, "embedder": embedder, "full": full, "margin": margin, "confidence": confidence,
        "second_rate": second_rate, "matched": matched, "seed": seed, "controls": list(controls),
    }  # fmt: skip
    said = list(dict.fromkeys(remarks))  # an engine's note may be one of the others
    return Setup(design, bench, prepared, said, account, asked("compare", engine, given))


def _left_out(held_out: Sequence[HeldOut]) -> list[str]:
    """Rows of the evaluation sets that no arm is measured on."""
    return [
        f"{counted(len(held.failed))} of the evaluation set {held.task.name} left out, the first: "
        f"{next(iter(held.failed.values()))}."
        for held in held_out
        if held.failed
    ]


def _with_controls(controls: Sequence[MethodLike], methods: Sequence[Method]) -> tuple[Method, ...]:
    wanted = as_methods(["random", *controls, *methods])
    return tuple(by_label(wanted).values())


def _too_large(prepared: Prepared, budgets: Sequence[Budget]) -> list[str]:
    """Budgets that hold the whole pool compare nothing."""
    tokens = prepared.table["tokens"].to_numpy()
    whole = [str(budget) for budget in budgets if budget.limit(tokens).capacity >= budget.limit(tokens).costs.sum()]
    return [f"A budget of {', '.join(whole)} holds the whole pool: its arms train on the same rows."] if whole else []


def _largest(prepared: Prepared, budgets: Sequence[Budget]) -> float:
    """Tokens that the largest budget holds, on average over rows."""
    tokens = prepared.table["tokens"].to_numpy()
    return max(_share(budget, tokens) for budget in budgets) * float(tokens.sum())


def _share(budget: Budget, tokens: np.ndarray) -> float:
    """How much of rows with so many tokens a budget holds, at most 1."""
    limit = budget.limit(tokens)
    return min(1.0, float(limit.capacity / limit.costs.sum()))
