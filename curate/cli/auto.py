"""`curate auto`."""

import sys
from dataclasses import asdict, dataclass
from typing import Annotated, ClassVar

from typer import Option

from curate.cli.options import EngineOptions, EvalOptions, ModelOptions, PlannedOutput, PoolOptions, ReferenceOptions, Seed
from curate.cli.terminal import console, print_json, say_written
from curate.cli.training_options import TrainingOptions  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SearchEvals:
    """The evaluation set that a search goes by, and the one that it is confirmed on."""

    panel: ClassVar = "Evaluation"
    evals: Annotated[
        str | None,
        Option("--eval", help="held-out conversations, FILE or NAME[:METRIC[:KEY=VALUE...]]=FILE; without it some of the pool"),
    ] = None
    confirm: Annotated[
        str | None, Option("--confirm", help="the set to confirm on; without it half of --eval, which the search never sees")
    ] = None

    def sets(self) -> list[EvalOptions]:
        """Those that are given, as `curate compare` reads them."""
        return [EvalOptions(evals=[text]) for text in (self.evals, self.confirm) if text is not None]


def auto(
    pool: PoolOptions,
    evals: SearchEvals, models: ModelOptions, others: ReferenceOptions, training: TrainingOptions, engine: EngineOptions,
    output: PlannedOutput,
    spend: Annotated[str, Option("--spend", "-s", help="what may be spent in all: 20min, 2h, or 1e15FLOPs")],
    methods: Annotated[
        str | None, Option("--methods", "--method", "-m", help="names, with commas [dim](default: cheap ones)[/]")
    ] = None,
    budget: Annotated[str, Option("--budget", "-b", help="one or more, with commas")] = "5%,10%",
    tokens: Annotated[int | None, Option(min=1, help="processed tokens of a training at full length")] = None,
    epochs: Annotated[float | None, Option(help="instead: epochs of the largest budget (default 3)")] = None,
    margin: Annotated[float, Option(help="what counts as equivalent: a fraction of random's loss; shares as they are")] = 0.01,
    seed: Seed = 0,
) -> None:  # fmt: skip
    """Which method, at which budget, for this pool: a search within a spend, and one clean test of what it finds.

    Many arms with few tokens, the better half with more, and so on; then the winner against random and length-matched random,
    with seeds and evaluation items that took no part in the search. It says "use random" when nothing beats it.

    Example: curate auto pool.jsonl --eval dev.jsonl --spend 20min --methods lobass,longest --budget 2%,5%,10% --out auto/
    """
    from curate.automatic.search import METHODS
    from curate.automatic.spend import Spend
    from curate.budget import Budget
    from curate.registry import listed, make_method

    parsed = Spend.parse(spend)
    chosen = [make_method(text) for text in (METHODS if methods is None else listed(methods))]
    read_by = [path for method in chosen for path in method.inputs()]
    sets = evals.sets()
    files = [file for each in sets for file in each.files]
    output.check(*pool.files, *files, *read_by, others.target, others.existing, engine.store)
    budgets = [Budget.parse(text, strict=True) for text in budget.split(",")]
    recipe, read = training.recipe(), pool.read(engine, models.model, models.scorer_model, seed=seed)
    tasks = [each.tasks() for each in sets]
    asked = {
        "pool": read, "methods": chosen, "budgets": budgets, "evals": tasks[0] if tasks else None,
        "confirm": tasks[1] if len(tasks) > 1 else None, "spend": parsed, "tokens": tokens, "epochs": epochs, **asdict(models),
        **asdict(others), "margin": margin, "recipe": recipe, "seed": seed,
    }  # fmt: skip
    if output.plan:
        from curate.report.plans import plan_auto

        return output.show_plan(plan_auto(engine=engine.make(), **asked))
    outcome = engine.run("auto", **asked, command=["curate", *sys.argv[1:]])
    outcome.save(output.out, overwrite=output.overwrite)
    if output.as_json:
        return print_json({**outcome.to_dict(), "out": str(output.out)})
    from curate.report.automatic import show_outcome

    console().print(show_outcome(outcome, output.out))
    say_written(output.out)
