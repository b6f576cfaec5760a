"""`curate observe`."""

from typing import Annotated

from typer import Option

from curate.cli.expand import Only
from curate.cli.options import EngineOptions, ModelOptions, PlannedOutput, PoolOptions
from curate.cli.terminal import console, print_json, say_written
from curate.wording import account_of


def observe(
    pool: PoolOptions, models: Annotated[ModelOptions, Only("model")],
    engine: Annotated[
        EngineOptions,
        Only("store", "device", "dtype", "threads", "max_length", "trust_remote_code", "runner", "workers", "cluster"),
    ], output: PlannedOutput,
    observables: Annotated[str, Option("--observables", help="names, with commas")] = "mean_loss,entropy,margin,el2n",
    view: Annotated[
        str, Option(help="what is seen: conversation, response, response_without_start, instruction, instruction_after_response")
    ] = "conversation",
    example: Annotated[str | None, Option(help="instead: a file with one conversation, seen before each row")] = None,
) -> None:  # fmt: skip
    """Record what a model's forward pass tells of every row: losses, entropy, margin, EL2N, hidden states.

    Example: curate observe pool.jsonl --observables token_logprobs,hidden_mean --out observed/
    """
    output.check(*pool.files, example, engine.store)
    asked = {"view": view, "example": example, "model": models.model}
    names = observables.split(",")
    read = pool.read(engine, models.model)
    if output.plan:
        from curate.report.plans import plan_observation

        return output.show_plan(plan_observation(read, names, engine=engine.make(), **asked))
    found = engine.run("observe", pool=read, observables=names, **asked)
    found.write(output.out, overwrite=output.overwrite)
    if output.as_json:
        return print_json({**found.counts, "rows": len(found.frame), "columns": found.frame.columns, "out": str(output.out)})
    from curate.report.scores import show_observed

    console().print("\n".join([account_of(found.counts), *found.manifest["notes"]]), highlight=False, markup=False)
    console().print(show_observed(found))
    say_written(output.out)
