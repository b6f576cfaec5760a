"""Groups of options become the options of every verb that takes them."""

from dataclasses import dataclass, fields
from typing import Annotated, ClassVar

import pytest
import typer
from typer.testing import CliRunner

from curate.cli.app import app
from curate.cli.expand import Only, expanded
from curate.cli.options import EngineOptions, PoolOptions
from curate.cli.training_options import TrainingOptions


@dataclass(frozen=True, kw_only=True)
class Fruit:
    panel: ClassVar = "Fruit"
    apples: Annotated[int, typer.Option("--apples", min=1, help="how many")] = 3
    names: Annotated[list[str], typer.Argument()]
    ripe: Annotated[bool, typer.Option("--ripe")] = False


def called(verb, *words):
    toy = typer.Typer(add_completion=False)
    toy.command()(expanded(verb))
    result = CliRunner().invoke(toy, list(words))
    return result.exit_code, result.output


def test_a_group_is_built_from_its_options():
    def verb(fruit: Fruit, more: Annotated[int, typer.Option()] = 2) -> None:
        """Say it."""
        print(fruit, more)

    assert called(verb, "x", "y", "--apples", "5", "--more", "1") == (0, "Fruit(apples=5, names=['x', 'y'], ripe=False) 1\n")
    assert called(verb, "x")[1] == "Fruit(apples=3, names=['x'], ripe=False) 2\n"
    assert called(verb, "x", "--apples", "0")[0] == 2
    assert called(verb)[0] == 2  # an option without a default is required
    shown = called(verb, "--help")[1]
    assert "Say it." in shown and "─ Fruit ─" in shown and "--ripe" in shown


def test_a_part_of_a_group():
    def verb(fruit: Annotated[Fruit, Only("names", "ripe")]) -> None:
        print(fruit)

    assert called(verb, "x", "--ripe") == (0, "Fruit(apples=3, names=['x'], ripe=True)\n")
    assert called(verb, "x", "--apples", "5")[0] == 2


@pytest.mark.parametrize(
    "group, verbs",
    [
        (PoolOptions, ["inspect", "score", "select", "train", "compare"]),
        (EngineOptions, ["score", "select", "compare"]),
        (TrainingOptions, ["score", "select", "train", "compare"]),
    ],
)
def test_verbs_take_shared_groups_whole(group, verbs):
    """So that an option added to a group is in all of them."""
    commands = typer.main.get_command(app).commands
    for verb in verbs:
        assert {field.name for field in fields(group)} <= {parameter.name for parameter in commands[verb].params}
