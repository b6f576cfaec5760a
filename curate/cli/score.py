"""`curate score`."""

from dataclasses import asdict
from typing import Annotated

from typer import Option

from curate.cli.expand import Only
from curate.cli.options import (
    EngineOptions,
    Groups,
    Methods,
    ModelOptions,
    PlannedOutput,
    PoolOptions,
    ReferenceOptions,
    Seed,
    Truth,
)
from curate.cli.terminal import console, print_json
from curate.cli.training_options import TrainingOptions  # fmt: skip
from curate.errors import InputError


def score(
    pool: PoolOptions, methods: Methods, models: Annotated[ModelOptions, Only("model", "embedder")], others: ReferenceOptions,
    training: TrainingOptions, engine: EngineOptions, output: PlannedOutput, truth: Truth = None, groups: Groups = None,
    budget: Annotated[str | None, Option("--budget", "-b", help="with --truth: judge what every method picks within it")] = None,
    seeds: Annotated[int | None, Option(min=1, help="with --budget: how many, for methods that draw or train (3)")] = None,
    seed: Seed = 0,
) -> None:  # fmt: skip
    """Score every row by one or more methods that share their passes: scores.parquet, a column per method.

    Example: curate score pool.jsonl --methods lobass,kmq --truth planted --budget 10% --out scores/
    """
    from curate.budget import Budget
    from curate.registry import listed
    from curate.report.scores import show_scores
    from curate.truth import check, judge

    output.check(*pool.files, others.target, others.existing, engine.store)
    parsed = None if budget is None else Budget.parse(budget, strict=True)
    if not truth and (groups or parsed):
        raise InputError(f"{'--budget' if parsed else '--groups'} judges picks by planted defects; name their column by --truth")
    if seeds is not None and parsed is None:
        raise InputError("--seeds is of --budget, whose picks are drawn anew for each; scores are of one seed (--seed)")
    recipe, read = training.recipe(), pool.read(engine, models.model, seed=seed)
    if truth:
        check(read, truth, groups)  # an absent column is said before anything runs
    asked = {
        "model": models.model, "embedder": models.embedder, **asdict(others), "recipe": recipe, "seed": seed,
        "seeds": 1 if parsed is None else seeds or 3,
    }  # fmt: skip
    if output.plan:
        from curate.report.plans import plan_scores

        return output.show_plan(plan_scores(read, listed(methods), engine=engine.make(), picks=parsed is not None, **asked))
    scores = engine.run("score", pool=read, methods=listed(methods), budget=parsed, **asked)
    judged = judge(scores, truth, groups) if truth else None
    scores.write(output.out, overwrite=output.overwrite, tables=judged.tables() if judged else None)
    if output.as_json:
        found = {"truth": judged and judged.scores.to_dicts()}
        if judged and judged.picks is not None:
            found["picks"] = judged.picks.to_dicts()
        return print_json({**scores.counts, "methods": scores.methods, **found, "out": str(output.out)})
    show_scores(console(), scores, judged, str(output.out))
