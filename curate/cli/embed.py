"""`curate embed`."""

from typing import Annotated, Any

from typer import Option

from curate.cli.expand import Only
from curate.cli.options import EngineOptions, ModelOptions, PlannedOutput, PoolOptions
from curate.cli.terminal import console, print_json, say_written
from curate.wording import account_of, counted


def embed(
    pool: PoolOptions, models: Annotated[ModelOptions, Only("model", "embedder")], engine: EngineOptions, output: PlannedOutput,
    view: Annotated[
        str, Option(help="what of a row: conversation, response, response_without_start, instruction, instruction_after_response")
    ] = "conversation",
) -> None:  # fmt: skip
    """Write a vector for every row: embeddings.parquet.

    Example: curate embed pool.jsonl --embedder tfidf --out embedded/
    """
    output.check(*pool.files, engine.store)
    asked: dict[str, Any] = {"embedder": models.embedder, "view": view, "model": models.model}
    read = pool.read(engine, models.model)
    if output.plan:
        from curate.report.plans import plan_embedding

        return output.show_plan(plan_embedding(read, engine=engine.make(), **asked))
    found = engine.run("embed", pool=read, **asked)
    found.write(output.out, overwrite=output.overwrite)
    if output.as_json:
        return print_json({**found.summary(), "out": str(output.out)})
    summary = found.summary()
    null = f", {summary['null']:,} of them null" if summary["null"] else ""
    text = f"{counted(summary['rows'])}{null}, {summary['dimensions']:,} dimensions by {summary['embedder']}"
    console().print("\n".join([account_of(summary), text, *found.notes]), highlight=False, markup=False)
    say_written(output.out)
