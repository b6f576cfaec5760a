"""`curate run` and `curate demo`: several verbs in a row."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from rich.text import Text
from typer import Argument, Option

from curate.cli.expand import Only
from curate.cli.options import EngineOptions, OutputOptions, PlannedOutput
from curate.cli.push import PushOptions
from curate.cli.terminal import console, print_json, say_written
from curate.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Replacements:
    """Each stands for all that the recipe names of its kind."""

    panel: ClassVar = "Instead of what the recipe names"
    pool: Annotated[list[str] | None, Option("--pool", help="files, folders, globs, or a hub dataset; repeat")] = None
    model: Annotated[str | None, Option("--model", help="the model: a folder or hub name")] = None
    evals: Annotated[
        list[str] | None, Option("--eval", help="held-out conversations of compare stages, as for `curate compare`; repeat")
    ] = None
    target: Annotated[str | None, Option("--target", help="examples of what the model should become good at")] = None
    limit: Annotated[int | None, Option("--limit", min=1, help="read the first N rows of the pool only")] = None

    def applied(self, recipe: Any) -> Any:
        """The recipe with these. Raises InputError as `curate.recipe.overridden` does."""
        from curate.recipe import overridden

        pool, evals = self.pool or (), self.evals or ()
        return overridden(recipe, pool=pool, model=self.model, evals=evals, target=self.target, limit=self.limit)


@dataclass(frozen=True, kw_only=True)
class RunOutput(OutputOptions):
    out: Annotated[Path | None, Option("--out", "-o", help="output folder")] = None  # type: ignore[assignment]

    def check(self, *keep: str | Path | None) -> None:
        if self.out is None:
            raise InputError("name a folder for the results with --out")
        super().check(*keep)


def run(
    instead: Replacements,
    engine: Annotated[EngineOptions, Only("store", "device", "threads", "trust_remote_code", "runner", "workers", "cluster")],
    output: RunOutput,
    hub: PushOptions,
    recipe: Annotated[str | None, Argument(help="a YAML file of stages, or the name of a recipe that ships")] = None,
    names: Annotated[bool, Option("--list", help="list the recipes that ship, and stop")] = False,
) -> None:  # fmt: skip
    """Run a recipe: stages that refine, select, train and compare, each on what the one before kept.

    Example: curate run cleaned --pool pool.jsonl --eval dev.jsonl --out out/
    """
    from curate.recipe import find_recipe, read_recipe, shipped

    if names:
        found = shipped()
        if output.as_json:
            return print_json(found)
        return console().print(described(found))
    if recipe is None:
        raise InputError("name a recipe: a YAML file, or one that `curate run --list` lists")
    file = find_recipe(recipe)
    asked = instead.applied(read_recipe(file))
    if hub.push is not None and not any(stage.select or stage.refine for stage in asked.stages):
        raise InputError("--push: the recipe has no select or refine stage, whose rows could be sent")
    hub.check()
    output.check(file, *map(asked.path, asked.inputs), engine.store)
    results = engine.run("run_recipe", recipe=asked, out=output.out, overwrite=output.overwrite)
    if output.as_json:
        pushed = {"push": hub.send(output.out, quiet=True)} if hub.push is not None else {}
        return print_json({"stages": results, "out": str(output.out), **pushed})
    for result in results:
        console().print(result["text"], highlight=False, markup=False)
    say_written(output.out)
    if hub.push is not None:
        hub.send(output.out)


def described(recipes: Mapping[str, str]) -> Any:
    """Names, and beside them what each recipe says of itself."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for name, said in recipes.items():
        table.add_row(Text(name, style="bold"), Text(said))
    return table


@dataclass(frozen=True, kw_only=True)
class DemoOutput(PlannedOutput):
    out: Annotated[Path, Option("--out", "-o", help="output folder")] = Path("demo")


def demo(
    engine: Annotated[EngineOptions, Only("store", "threads", "runner", "workers", "cluster")], output: DemoOutput,
    rows: Annotated[int, Option(min=50, help="rows of the sample pool")] = 1200,
    tokens: Annotated[int, Option(min=100, help="training tokens of each arm")] = 10_000,
    seeds: Annotated[int, Option(min=1)] = 3,
) -> None:  # fmt: skip
    """The whole way on the embedded sample: score, select, train, compare with random, and judge by planted truth."""
    from curate.files import check_output
    from curate.report.demo import run_demo

    for folder in ("verdict", "selection"):
        check_output(output.out / folder, overwrite=output.overwrite)
    if engine.store is None and "CURATE_STORE" not in os.environ:
        engine = replace(engine, store=output.out / "store")
    asked, quiet = replace(engine, device="cpu"), output.as_json
    if output.plan:
        from curate.report.demo import demonstration
        from curate.report.plans import plan_compare

        return output.show_plan(plan_compare(engine=asked.make(), **demonstration(rows, tokens, seeds)))
    result = run_demo(console(stderr=quiet), asked.run, output.out, rows=rows, tokens=tokens, seeds=seeds, quiet=quiet)
    if quiet:
        print_json(result)
