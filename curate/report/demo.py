"""The demonstration: the whole way on the embedded sample."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from curate.pool import read_pool
from curate.report.page import write_report
from curate.report.terminal import show_selection, show_verdict
from curate.report.truth import show_auroc, show_picks_truth
from curate.resources import sample
from curate.training.config import TrainConfig
from curate.truth import group_column, judge, judge_picks

METHODS = ("perplexity", "lobass")
BUDGET = "10%"
HELD_OUT = 400


def demonstration(rows: int, tokens: int, seeds: int) -> dict[str, Any]:
    """What is compared, as `curate.compare` takes it."""
    return {
        "pool": read_pool(sample("pool"), limit=rows),
        "methods": METHODS,
        "budgets": [BUDGET],
        "evals": read_pool(sample("test"), limit=min(rows, HELD_OUT)),  # a small demonstration is small throughout
        "seeds": seeds,
        "tokens": tokens,
        "recipe": TrainConfig(batch_tokens=512),
    }


def run_demo(
    console: Console, run: Callable[..., Any], out: Path, *, rows: int, tokens: int, seeds: int, quiet: bool
) -> dict[str, Any]:
    """Compare, select and judge on the sample; everything is written below `out`. Returns what `--json` prints."""

    def say(text: str) -> None:
        if not quiet:
            console.print(text, highlight=False)

    asked = demonstration(rows, tokens, seeds)
    pool, held_out, recipe = asked["pool"], asked["evals"], asked["recipe"]
    spoiled = len(pool) - pool.column("planted").null_count
    say(
        f"The sample pool: {len(pool):,} conversations, {spoiled / len(pool):.0%} of them spoiled on purpose.\n"
        f"Each method picks {BUDGET} without knowing which. A model of 4 million parameters is\n"
        f"fine-tuned on each pick and on random picks ({tokens:,} tokens, {seeds} seeds), then\n"
        f"evaluated on {len(held_out)} held-out conversations.\n"
    )
    verdict = run("compare", **asked)
    verdict.write(out / "verdict", overwrite=True)
    page = write_report(out / "verdict")
    scores = run("score", pool=pool, methods=["random", "longest", *METHODS], recipe=recipe)
    selection = run("select", pool=pool, method="lobass", budget=BUDGET, recipe=recipe)
    selection.write(out / "selection", overwrite=True)
    auroc, enrichment = judge(scores, "planted").scores, judge_picks(verdict.selections, pool, "planted")
    if not quiet:
        console.print(show_verdict(verdict))
        console.print(show_auroc(auroc))
        console.print(show_picks_truth(enrichment, group_column(pool)))
        say("\nA selection by lobass, ready for a trainer:")
        console.print(show_selection(selection.summary, str(out / "selection")))
        say(f"\nAll of it as a page, for a browser: {page}")
    return {"verdict": verdict.to_json(), "auroc": auroc.to_dicts(), "enrichment": enrichment.to_dicts(), "out": str(out)}
