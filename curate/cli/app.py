"""The verbs, in the order the help lists them."""

from typing import Annotated

import typer

from curate.cli.auto import auto
from curate.cli.compare import compare
from curate.cli.conclude import conclude
from curate.cli.embed import embed
from curate.cli.evaluate import evaluate
from curate.cli.expand import expanded
from curate.cli.look import inspect, methods
from curate.cli.observe import observe
from curate.cli.push import push
from curate.cli.recipes import demo, run
from curate.cli.replay import replay
from curate.cli.report import report
from curate.cli.schedule import schedule
from curate.cli.score import score
from curate.cli.select import select
from curate.cli.store import store
from curate.cli.train import train

app = typer.Typer(
    name="curate",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"curate {version('curate')}")
        raise typer.Exit


@app.callback()
def _front(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="say the version and stop")
    ] = False,
) -> None:
    """Choose the data a language model is fine-tuned on, and find out whether the choice beats random."""


VERBS = (
    methods, inspect, observe, embed, score, select, train, evaluate, compare, auto, conclude, report, run, schedule,
    replay, push, demo,
)  # fmt: skip
for _verb in VERBS:
    app.command()(expanded(_verb))
app.add_typer(store)
