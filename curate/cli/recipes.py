"""`curate run` and `curate demo`: several verbs in a row."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from curate.cli.expand import Only
from curate.cli.options import EngineOptions, OutputOptions, PlannedOutput
from curate.cli.terminal import console, print_json, say_written


def run(
    recipe: Annotated[Path, Argument(help="a YAML file of stages")],
    engine: Annotated[EngineOptions, Only("store", "device", "threads", "runner")], output: OutputOptions,
) -> None:  # fmt: skip
    """Run a recipe: stages that select, train and compare, each on what the one before kept."""
    from curate.recipe import read_recipe

    output.check(recipe, engine.store)
    results = engine.run("run_recipe", recipe=read_recipe(recipe), out=output.out, overwrite=output.overwrite)
    if output.as_json:
        return print_json({"stages": results, "out": str(output.out)})
    for result in results:
        console().print(result["text"], highlight=False, markup=False)
    say_written(output.out)


@dataclass(frozen=True, kw_only=True)
class DemoOutput(PlannedOutput):
    out: Annotated[Path, Option("--out", "-o", help="output folder")] = Path("demo")


def demo(
    engine: Annotated[EngineOptions, Only("store", "threads", "runner")], output: DemoOutput,
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
