"""`curate store`: looking after what is kept."""

from typing import Annotated

import typer
from typer import Option

from curate.cli.expand import Only, expanded
from curate.cli.options import EngineOptions, ReportOptions
from curate.cli.terminal import console, print_json

Where = Annotated[EngineOptions, Only("store")]


def ls(engine: Where, report: ReportOptions) -> None:
    """List the artifacts: what each is, rows, size, when it was last used, and how many manifests list it."""
    from curate.report.store import listing, show_listing
    from curate.store import Store

    found = listing(Store.existing(engine.store))
    print_json({"artifacts": found}) if report.as_json else show_listing(console(), found)


def du(engine: Where, report: ReportOptions) -> None:
    """Say how much the store takes, by kind and in all."""
    from curate.report.store import show_usage, usage
    from curate.store import Store

    store = Store.existing(engine.store)
    found = usage(store)
    if report.as_json:
        return print_json({"store": str(store.root), "kinds": found})
    show_usage(console(), found, str(store.root))


def gc(
    engine: Where, report: ReportOptions,
    older_than: Annotated[str, Option("--older-than", help="only what was last used so long ago: 12h, 7d")] = "1d",
    yes: Annotated[bool, Option("--yes", "-y", help="remove it; otherwise it is only listed")] = False,
) -> None:  # fmt: skip
    """Remove what no manifest refers to, and what killed processes left behind. Without --yes, say what would go."""
    from curate.report.store import collection_as_json, show_collection
    from curate.store import Store
    from curate.store.verbs import collect, remove, seconds_in

    wait, store = seconds_in(older_than), Store.existing(engine.store)
    found = collect(store, wait)
    freed = remove(found.garbage) if yes else None
    print_json(collection_as_json(found, freed)) if report.as_json else show_collection(console(), found, freed)


def verify(
    engine: Where, report: ReportOptions,
    repair: Annotated[bool, Option("--repair", help="remove what is damaged, so that it is computed again")] = False,
) -> None:  # fmt: skip
    """Read every file and compare it with its checksum. The exit code is 1 when damage is left."""
    from curate.report.store import show_verified, verified_as_json
    from curate.store import Store, verbs

    store = Store.existing(engine.store)
    found, left = verbs.verify(store), None
    if repair:
        verbs.repair(found)
        left = verbs.remaining(store)
    print_json(verified_as_json(found, left)) if report.as_json else show_verified(console(), found, left)
    if found.damaged and not repair:
        raise typer.Exit(1)


store = typer.Typer(
    name="store", help="Look after the store: what lies there, how much, what can go, what is damaged.", no_args_is_help=True
)
for _verb in (ls, du, gc, verify):
    store.command()(expanded(_verb))
