"""`curate methods` and `curate inspect`: what there is, before anything is computed."""

from typing import Annotated

from typer import Option

from curate.cli.expand import Only
from curate.cli.options import EngineOptions, ModelOptions, PoolOptions, ReportOptions
from curate.cli.terminal import console, print_json


def methods(report: Annotated[ReportOptions, Only("as_json")]) -> None:
    """List the methods: what each asks for, what it costs, and its paper."""
    from curate.report.catalogue import catalogue, show_catalogue

    found = catalogue()
    print_json({"methods": found}) if report.as_json else show_catalogue(console(), found)


def inspect(
    pool: PoolOptions, models: Annotated[ModelOptions, Only("model")],
    engine: Annotated[EngineOptions, Only("store", "max_length")], report: ReportOptions,
    examples: Annotated[int, Option(min=0, help="conversations to show")] = 2,
    tokens: Annotated[str | None, Option("--tokens", metavar="ID", help="of a selection of tokens: which a row has lost")] = None,
) -> None:  # fmt: skip
    """Look at a pool: shapes, sources, lengths, problems, duplicates, and conversations with what is learned from marked."""
    if tokens is not None:
        from curate.report.tokens import show_tokens, token_view

        view = token_view(pool.read(engine, models.model), tokens, models.model, engine.settings, engine.store)
        return print_json(view.to_json()) if report.as_json else show_tokens(console(), view)
    from curate.report.inspected import show_inspection
    from curate.report.inspection import inspect_pool

    found = inspect_pool(pool.read(engine, models.model), models.model, engine.settings, engine.store, examples)
    print_json(found.summary) if report.as_json else show_inspection(console(), found)
