"""`curate methods` and `curate inspect`: what there is, before anything is computed."""

from typing import Annotated

from typer import Argument, Option

from curate.cli.expand import Only
from curate.cli.options import EngineOptions, ModelOptions, PoolOptions, ReportOptions
from curate.cli.terminal import console, print_json
from curate.errors import InputError


def methods(
    report: Annotated[ReportOptions, Only("as_json")],
    name: Annotated[str | None, Argument(help="one of them, to be told all of it")] = None,
) -> None:
    """List the methods and what they cost; or say what one asks for and what its settings are."""
    from curate.report.catalogue import catalogue, entry, show_catalogue, show_method

    if name is not None:
        one = entry(name)
        return print_json(one) if report.as_json else show_method(console(), one)
    found = catalogue()
    print_json({"methods": found}) if report.as_json else show_catalogue(console(), found)


def inspect(
    pool: PoolOptions, models: Annotated[ModelOptions, Only("model", "embedder")],
    engine: Annotated[EngineOptions, Only("store", "max_length", "trust_remote_code")], report: ReportOptions,
    examples: Annotated[int, Option(min=0, help="conversations to show")] = 2,
    diversity: Annotated[bool, Option("--diversity", help="measure it: log-determinant distance of the embeddings")] = False,
    tokens: Annotated[str | None, Option("--tokens", metavar="ID", help="of a selection of tokens: which a row has lost")] = None,
) -> None:  # fmt: skip
    """Look at a pool: shapes, sources, lengths, problems, duplicates, and conversations with what is learned from marked."""
    if tokens is not None:
        from curate.report.tokens import show_tokens, token_view

        view = token_view(pool.read(engine, models.model), tokens, models.model, engine.settings, engine.store)
        return print_json(view.to_json()) if report.as_json else show_tokens(console(), view)
    from curate.report.inspected import show_inspection
    from curate.report.inspection import inspect_pool

    if models.embedder != ModelOptions.embedder and not diversity:
        raise InputError("--embedder is of --diversity; give both")
    by = models.embedder if diversity else None
    found = inspect_pool(pool.read(engine, models.model), models.model, engine.settings, engine.store, examples, by)
    print_json(found.summary) if report.as_json else show_inspection(console(), found)
