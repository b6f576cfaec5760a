"""`curate score`."""

from dataclasses import asdict
from typing import Annotated

from curate.cli.expand import Only
from curate.cli.options import (
    EngineOptions,
    Methods,
    ModelOptions,
    PlannedOutput,
    PoolOptions,
    ReferenceOptions,
    Seed,
    TrainingOptions,
    Truth,
)  # fmt: skip
from curate.cli.terminal import console, print_json


def score(
    pool: PoolOptions, methods: Methods, models: Annotated[ModelOptions, Only("model", "embedder")], others: ReferenceOptions,
    training: TrainingOptions, engine: EngineOptions, output: PlannedOutput, truth: Truth = None, seed: Seed = 0,
) -> None:  # fmt: skip
    """Score every row by one or more methods that share their passes: scores.parquet, a column per method."""
    from curate.report.scores import show_scores
    from curate.report.truth import judge
    from curate.truth import defects

    output.check(*pool.files, others.target, others.existing, engine.store)
    recipe, read = training.recipe(), pool.read(engine, models.model, seed=seed)
    if truth:
        defects(read, truth)  # an absent column is said before anything runs
    if output.plan:
        from curate.report.plans import plan_scores

        asked = {"model": models.model, "embedder": models.embedder, **asdict(others), "recipe": recipe, "seed": seed}
        return output.show_plan(plan_scores(read, methods.split(","), engine=engine.make(), **asked))
    scores = engine.run(
        "score", pool=read, methods=methods.split(","), model=models.model, target=others.target, existing=others.existing,
        embedder=models.embedder, seed=seed, recipe=recipe,
    )  # fmt: skip
    judged = judge(scores, truth) if truth else None
    scores.write(output.out, overwrite=output.overwrite)
    if output.as_json:
        found = None if judged is None else judged.to_dicts()
        return print_json({**scores.counts, "methods": scores.methods, "truth": found, "out": str(output.out)})
    show_scores(console(), scores, judged, str(output.out))
