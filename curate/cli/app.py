"""The verbs, in the order the help lists them."""

import typer

from curate.cli.compare import compare
from curate.cli.embed import embed
from curate.cli.evaluate import evaluate
from curate.cli.expand import expanded
from curate.cli.look import inspect, methods
from curate.cli.observe import observe
from curate.cli.recipes import demo, run
from curate.cli.score import score
from curate.cli.select import select
from curate.cli.store import store
from curate.cli.train import train

app = typer.Typer(
    name="curate",
    help="Choose the data a language model is fine-tuned on, and find out whether the choice beats random.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _verb in (methods, inspect, observe, embed, score, select, train, evaluate, compare, run, demo):
    app.command()(expanded(_verb))
app.add_typer(store)
