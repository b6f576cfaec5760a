"""What a run would do, before it does it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from curate.comparison.verdict import duration
from curate.engine import Engine
from curate.estimate import Calibration, Step, estimate
from curate.method import Method
from curate.pool import Pool
from curate.report.table import show_table
from curate.selection import plan
from curate.store import Store


def plan_table(
    pool: Pool, methods: Sequence[Method], *, options: Mapping[str, Any], store: Path | None, **asked: Any
) -> list[dict[str, Any]]:
    """The fits and passes of the first round: name, rows to compute, tokens, FLOPs, seconds, memory (0 when nothing runs).

    options: of the engine. asked: model, recipe and seed, as `curate.selection.plan` has them. See `curate.estimate`.
    """
    engine = Engine(store=Store(store), **options)
    found, _ = plan(pool, methods, engine=engine, **asked)
    return as_lines(estimate(found, Calibration(engine)))


def as_lines(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Steps for machines."""
    return [{**asdict(step), "seconds": round(step.seconds, 1)} for step in steps]


def show_plan(console: Console, lines: Sequence[Mapping[str, Any]]) -> None:
    """The plan on a terminal."""
    if not lines:
        console.print("nothing runs but the tokenizer")
        return
    columns = ("step", "rows", "tokens", "FLOPs", "memory", "about")
    rows = [_cells(line) for line in lines]
    console.print(show_table("", columns, rows, right=columns[1:]))
    memory = max(line["memory"] for line in lines)
    needs = f", {_gigabytes(memory)} of memory" if memory else ""
    console.print(f"about {duration(sum(line['seconds'] for line in lines))} in all{needs}", highlight=False)


def _cells(line: Mapping[str, Any]) -> list[str]:
    if not line["tokens"]:
        return [line["name"], "in the store", "", "", "", ""]
    return [
        line["name"],
        f"{line['rows']:,}",
        f"{line['tokens']:,}",
        f"{line['flops']:.1e}",
        _gigabytes(line["memory"]),
        duration(line["seconds"]),
    ]


def _gigabytes(memory: int) -> str:
    return f"{memory / 1e9:.1f} GB"
