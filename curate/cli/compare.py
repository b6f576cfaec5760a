"""`curate compare`."""

from dataclasses import asdict
from typing import Annotated

from typer import Option

from curate.cli.options import (
    EngineOptions,
    EvalOptions,
    Groups,
    Methods,
    ModelOptions,
    PlannedOutput,
    PoolOptions,
    ReferenceOptions,
    Seed,
    Truth,
)
from curate.cli.terminal import console, print_json, say_report, say_written
from curate.cli.training_options import TrainingOptions  # fmt: skip


def compare(
    pool: PoolOptions, methods: Methods, evals: EvalOptions, models: ModelOptions, others: ReferenceOptions,
    training: TrainingOptions, engine: EngineOptions, output: PlannedOutput,
    budget: Annotated[str, Option("--budget", "-b", help="one or more, with commas: 5%,10%")] = "10%",
    seeds: Annotated[int, Option(min=1, help="how many; 3 at least, better 5")] = 3,
    tokens: Annotated[int | None, Option(min=1, help="processed tokens of each training")] = None,
    epochs: Annotated[float | None, Option(help="instead: epochs of the largest budget (default 3)")] = None,
    full: Annotated[bool, Option("--full/--no-full", help="also train on the whole pool")] = True,
    margin: Annotated[float, Option(help="what counts as equivalent: a fraction of random's loss; shares as they are")] = 0.01,
    second_rate: Annotated[float, Option(help="where a selection beats random, try both at this multiple of the rate; 0: not")]
    = 0.333,
    matched: Annotated[str, Option(help="whom to hold against random rows with replies as long: leaders or all")] = "leaders",
    truth: Truth = None, groups: Groups = None,
    seed: Seed = 0,
) -> None:  # fmt: skip
    """Train on each method's picks and on random picks, at equal tokens, and say which are better.

    random, balanced (random by source) and longest are always in, and random rows with replies as long as the best picks':
    a method that does not beat them is not worth its cost.

    Example: curate compare pool.jsonl --methods lobass,longest --budget 5%,10% --seeds 5 --eval dev.jsonl --out verdict/
    """
    from curate.budget import Budget
    from curate.registry import listed, make_method

    chosen = [make_method(text) for text in listed(methods)]
    read_by = [path for method in chosen for path in method.inputs()]
    output.check(*pool.files, *evals.files, *read_by, others.target, others.existing, engine.store)
    budgets = [Budget.parse(text, strict=True) for text in budget.split(",")]
    recipe, read = training.recipe(), pool.read(engine, models.model, models.scorer_model, seed=seed)
    if truth:
        from curate.truth import check, judge_picks

        check(read, truth, groups)  # an absent column is said before anything runs
    asked = {
        "pool": read, "methods": chosen, "budgets": budgets, "evals": evals.tasks(), "seeds": seeds, "tokens": tokens,
        "epochs": epochs, **asdict(models), **asdict(others), "full": full, "margin": margin, "recipe": recipe, "seed": seed,
        "second_rate": second_rate or None, "matched": matched,
    }  # fmt: skip
    if output.plan:
        from curate.report.plans import plan_compare

        return output.show_plan(plan_compare(engine=engine.make(), **asked))
    if seeds == 1 and not output.as_json:
        said = "note: with one seed every answer will be undecided; `curate conclude` puts several such comparisons together"
        console(stderr=True).print(said, highlight=False, markup=False)
    from curate.report.page import write_report

    verdict = engine.run("compare", **asked)
    verdict.write(output.out, overwrite=output.overwrite)
    assert output.out is not None  # as `check` made sure
    page = write_report(output.out)
    judged = judge_picks(verdict.selections, read, truth, groups) if truth else None
    if output.as_json:
        return print_json({**verdict.to_json(), **({} if judged is None else {"truth": judged.to_dicts()})})
    from curate.report.terminal import show_verdict

    console().print(show_verdict(verdict))
    if judged is not None:
        from curate.report.truth import show_picks_truth
        from curate.truth import group_column

        console().print(show_picks_truth(judged, group_column(read, groups)))
    say_written(output.out)
    say_report(page)
