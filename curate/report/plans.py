"""What a run would do, before it does it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console

from curate import vectors
from curate.automatic.search import laid_out, prepared
from curate.automatic.spend import Ledger, Spend
from curate.budget import Budget
from curate.comparison.estimate import estimate_compare
from curate.comparison.tables import duration
from curate.engine import Engine
from curate.estimate import Calibration, Step, estimate, worth
from curate.method import Method
from curate.observation import ask
from curate.plan import merge
from curate.pool import Pool
from curate.preparation import as_model
from curate.report.table import show_table
from curate.scoring import plan
from curate.training.config import TrainConfig


def plan_scores(
    pool: Pool, methods: Sequence[str | Method], *, engine: Engine, budget: Budget | None = None, model: Any = None,
    scorer_model: Any = None, target: Any = None, existing: Any = None, embedder: Any = "hidden",
    recipe: TrainConfig | None = None, seed: int = 0, seeds: int = 1, picks: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """What scoring would run in its first round: `plan`, its lines, and `notes`; with a budget also `worth`, in FLOPs.

    picks  whether the methods pick too, as for `curate.scoring.plan`.
    """
    found, prepared = plan(
        pool, methods, engine=engine, model=scorer_model or model, target=target, existing=existing, embedder=embedder,
        recipe=recipe, seed=seed, seeds=seeds, picks=picks,
    )  # fmt: skip
    steps = estimate(found, Calibration(engine))
    planned = _planned(steps, engine)
    if budget is not None:
        trained, limit = as_model(model), budget.limit(prepared.table["tokens"].to_numpy())
        _, rows, _ = engine.add("pool", prepared.pool, trained)
        pays = worth(steps, engine, trained, rows, recipe or TrainConfig(), limit)
        planned["worth"] = {**asdict(pays), "trainings": pays.trainings}
    return planned


def plan_observation(pool: Pool, observables: Sequence[str], *, engine: Engine, **asked: Any) -> dict[str, Any]:
    """What `curate.observe` would run."""
    _, requests = ask(pool, observables, engine, **asked)
    return _planned(estimate(merge(requests), Calibration(engine)), engine)


def plan_embedding(pool: Pool, embedder: str, *, engine: Engine, **asked: Any) -> dict[str, Any]:
    """What `curate.embed` would run."""
    *_, request = vectors.ask(pool, embedder, engine, **asked)
    return _planned(estimate(merge([request]), Calibration(engine)), engine)


def plan_compare(*, engine: Engine, **asked: Any) -> dict[str, Any]:
    """What `curate.compare` would run; the notes say what it may run beyond that."""
    return _planned(estimate_compare(engine=engine, **asked), engine)


def plan_auto(*, engine: Engine, spend: Any, **asked: Any) -> dict[str, Any]:
    """How `curate.auto` would lay out its spend."""
    ledger = Ledger(Spend.parse(spend))
    with ledger.part("plan"):
        search = prepared(engine=engine, **asked)
        steps = laid_out(search, ledger)
    return {"plan": as_lines(steps), "notes": [*search.remarks, *engine.notes]}


def _planned(steps: Sequence[Step], engine: Engine) -> dict[str, Any]:
    """notes: such as that a fit serves which was made on other rows."""
    return {"plan": as_lines(steps), "notes": list(engine.notes)}


def as_lines(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Steps for machines."""
    return [{**asdict(step), "seconds": round(step.seconds, 1)} for step in steps]


def show_plan(console: Console, planned: Mapping[str, Any]) -> None:
    """The plan on a terminal."""
    lines = planned["plan"]
    if not lines:
        console.print("nothing runs but the tokenizer")
        return
    columns = ("step", "rows", "tokens", "FLOPs", "memory", "about")
    rows = [_cells(line) for line in lines]
    console.print(show_table("", columns, rows, right=columns[1:]))
    memory = max(line["memory"] for line in lines)
    needs = f", {_gigabytes(memory)} of memory" if memory else ""
    console.print(f"about {duration(sum(line['seconds'] for line in lines))} in all{needs}", highlight=False)
    for note in planned["notes"]:
        console.print(note, highlight=False, markup=False)
    if "worth" in planned:
        console.print(_worth(planned["worth"]), highlight=False)


def _worth(pays: Mapping[str, Any]) -> str:
    text = (
        f"selecting takes {pays['select']:.1e} FLOPs, training on the selection {pays['train']:.1e}, on everything "
        f"{pays['everything']:.1e}: "
    )
    if pays["trainings"] is None:
        return text + "training on everything is as cheap"
    if pays["trainings"] == 1:
        return text + "the selection pays with its first training"
    return text + f"training on everything is cheaper, unless the selection serves {pays['trainings']:,} trainings"


def _cells(line: Mapping[str, Any]) -> list[str]:
    if not line["rows"]:
        return [line["name"], "in the store", "", "", "", ""]
    return [
        line["name"],
        f"{line['rows']:,}",
        f"{line['tokens']:,}" if line["tokens"] else "",
        f"{line['flops']:.1e}" if line["flops"] else "",
        _gigabytes(line["memory"]),
        duration(line["seconds"]),
    ]


def _gigabytes(memory: int) -> str:
    return f"{memory / 1e9:.1f} GB"
