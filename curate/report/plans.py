"""What a run would do, before it does it."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from curate.comparison.verdict import duration
from curate.engine import Engine
from curate.lm.models import parameter_count
from curate.method import Method
from curate.plan import base_model, fit_name, pass_name
from curate.pool import Pool
from curate.report.table import show_table
from curate.requests import Fit
from curate.selection import plan
from curate.store import Store
from curate.training.config import training_flops

CALIBRATION_TOKENS = 8192


def plan_table(
    pool: Pool, methods: Sequence[Method], *, options: Mapping[str, Any], store: Path | None, **asked: Any
) -> list[dict[str, Any]]:
    """The fits and passes of the first round: step, rows to compute, tokens, FLOPs, seconds (0 when nothing runs).

    options: of the engine. asked: model, recipe and seed, as `curate.selection.plan` has them. Times come from one forward
    batch measured here; a training token counts as three forward ones.
    """
    engine = Engine(store=Store(store), **options)
    found, prepared = plan(pool, methods, engine=engine, **asked)
    speed: float | None = None
    lines = []
    lengths = engine.encodings(prepared.data.model, prepared.rows).lengths
    for fit in found.fits:
        kept = engine.kept(fit) is not None
        tokens = 0 if kept else int((fit.recipe.epochs or 0) * lengths.sum())
        speed = speed or (None if kept else _tokens_per_second(engine, prepared))
        size = parameter_count(fit.model.folder())
        flops = training_flops(0, size, tokens) if fit.recipe.adapter == "lora" else training_flops(size, 0, tokens)
        lines.append(_line(fit_name(fit), 0 if kept else fit.rows.size, tokens, flops, 3 * tokens / speed if speed else 0.0))
    for step in found.passes:
        if not step.forwards:
            continue
        waits = isinstance(step.model, Fit) and engine.kept(step.model) is None
        missing = range(step.rows.size) if waits else engine.missing(step)
        tokens = int(lengths[list(missing)].sum())
        speed = speed or (_tokens_per_second(engine, prepared) if tokens else None)
        flops = 2.0 * parameter_count(base_model(step.model).folder()) * tokens
        lines.append(_line(pass_name(step), len(missing), tokens, flops, tokens / speed if speed else 0.0))
    return lines


def _line(step: str, rows: int, tokens: int, flops: float, seconds: float) -> dict[str, Any]:
    return {"step": step, "rows": rows, "tokens": tokens, "flops": flops, "seconds": round(seconds, 1)}


def _tokens_per_second(engine: Engine, prepared: Any) -> float:
    from curate.lm.forward import mean_losses

    encodings = engine.encodings(prepared.data.model, prepared.rows)
    count = max(1, int(CALIBRATION_TOKENS / max(1.0, float(encodings.lengths.mean()))))
    sample = encodings.take(range(0, len(encodings), max(1, len(encodings) // count)))
    network = engine.load(prepared.data.model)
    mean_losses(network, sample.take(range(min(4, len(sample)))), batch_tokens=engine.batch_tokens)
    start = time.perf_counter()
    mean_losses(network, sample, batch_tokens=engine.batch_tokens)
    return float(sample.lengths.sum()) / (time.perf_counter() - start)


def show_plan(console: Console, lines: Sequence[Mapping[str, Any]]) -> None:
    """The plan on a terminal."""
    if not lines:
        console.print("nothing runs but the tokenizer")
        return
    columns = ("step", "rows", "tokens", "FLOPs", "about")
    rows = [
        [
            line["step"],
            f"{line['rows']:,}" if line["rows"] else "in the store",
            f"{line['tokens']:,}",
            f"{line['flops']:.1e}",
            duration(line["seconds"]),
        ]
        for line in lines
    ]
    console.print(show_table("", columns, rows, right=columns[1:]))
    console.print(f"about {duration(sum(line['seconds'] for line in lines))} in all", highlight=False)
