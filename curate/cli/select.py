"""`curate select`."""

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from typer import Option

from curate.cli.options import EngineOptions, ModelOptions, PlannedOutput, PoolOptions, ReferenceOptions, Seed, key_values
from curate.cli.push import PushOptions
from curate.cli.terminal import console, print_json
from curate.cli.training_options import TrainingOptions  # fmt: skip
from curate.errors import InputError


def select(
    pool: PoolOptions, budget: Annotated[str, Option("--budget", "-b", help="1000, 10%, or 2M tokens")], models: ModelOptions,
    others: ReferenceOptions, training: TrainingOptions, engine: EngineOptions, output: PlannedOutput, hub: PushOptions,
    method: Annotated[str, Option("--method", "-m", help="see `curate methods`")] = "lobass",
    settings: Annotated[list[str] | None, Option("--set", help="a setting of the method, key=value; repeat")] = None,
    signals: Annotated[
        str | None, Option("--signals", help="what the method compares rows by, where it has a choice; try embedding")
    ] = None,
    fill: Annotated[str, Option(help="when too few rows have a score: none, random")] = "none",
    shape: Annotated[str, Option(help="of the exported data: original, messages")] = "original",
    seed: Seed = 0,
) -> None:  # fmt: skip
    """Pick a subset by a method, ready for any trainer.

    Example: curate select pool.jsonl --method lobass --budget 10% --out picked/
    """
    from curate.budget import Budget
    from curate.registry import make_method

    if "," in method:
        raise InputError(f"select takes one method, not {method!r}; `curate compare` takes several")
    given = key_values(settings, "--set") | ({} if signals is None else {"signals": signals})
    parsed, chosen = Budget.parse(budget, strict=True), make_method(method, given)
    if shape not in ("original", "messages"):
        raise InputError(f"shape {shape!r} is not one of original, messages")
    hub.check()
    output.check(*pool.files, *chosen.inputs(), others.target, others.existing, engine.store)
    recipe, read = training.recipe(), pool.read(engine, models.model, models.scorer_model, seed=seed)
    if output.plan:
        from curate.report.plans import plan_scores

        return output.show_plan(
            plan_scores(
                read, [chosen], engine=engine.make(), budget=parsed, **asdict(models), **asdict(others), recipe=recipe, seed=seed
            )
        )
    selection = engine.run(
        "select", pool=read, method=chosen, budget=parsed, **asdict(models), **asdict(others), seed=seed, fill=fill,
        recipe=recipe, command=["curate", *sys.argv[1:]],
    )  # fmt: skip
    if not len(selection):
        rows = selection.summary["rows_pool"]
        which = "not even the only row" if rows == 1 else f"none of the {rows:,} rows"
        short = selection.summary["shortfall"]
        why = (
            f"; picking stops at the first row that does not fit. {short.rstrip('.')}"
            if parsed.unit == "tokens" and short
            else ""
        )
        raise InputError(f"a budget of {parsed} picks {which}{why}; give a larger one")
    selection.write(output.out, shape=shape, overwrite=output.overwrite)
    if output.as_json:
        pushed = {"push": hub.send(output.out, quiet=True)} if hub.push is not None else {}
        return print_json({**selection.summary, "out": str(output.out), **pushed})
    from curate.report.terminal import show_selection

    console().print(show_selection(selection.summary, str(output.out), selection.manifest["notes"]))
    if selection.policy is not None:
        console().print(_train_command(output.out, models.model, engine), soft_wrap=True, highlight=False, markup=False)
    if hub.push is not None:
        hub.send(output.out)


def _train_command(folder: Path | None, model: str | None, engine: EngineOptions) -> str:
    """The whole method, for one whose tokens are chosen in training."""
    named = {"--model": model, "--store": engine.store, "--max-length": engine.max_length}
    words = [word for option, value in named.items() if value is not None for word in (option, str(value))]
    return "train     " + shlex.join(["curate", "train", str(folder), *words, "--out", f"{folder}-tuned"])
