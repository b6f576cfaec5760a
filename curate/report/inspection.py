"""Looking at a pool before anything is computed with it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from curate.engine import Engine
from curate.pool import Pool
from curate.report.table import printable, show_table
from curate.selection import as_model
from curate.store import Store
from curate.wording import counted


@dataclass(frozen=True)
class Inspection:
    """summary: numbers for machines. examples: conversations as (text, learned) pieces, learned from or not."""

    summary: dict[str, Any]
    examples: list[list[tuple[str, bool]]]


def inspect_pool(pool: Pool, model: str | None, options: Mapping[str, Any], store: Path | None, examples: int) -> Inspection:
    """Count, measure and sample a pool with a model's tokenizer and template."""
    engine, spec = Engine(store=Store(store), **options), as_model(model)
    usable, rows, failed = engine.add("pool", pool, spec)
    encodings = engine.encodings(spec, rows)
    report = pool.report
    lengths, replies = encodings.lengths, encodings.response_lengths
    by_source: dict[str, list[int]] = {}
    for i, source in enumerate(usable.sources):
        by_source.setdefault(source or "(none)", []).append(i)
    problems = Counter(rejected.reason.split(":")[0] for rejected in report.rejected) + Counter(failed.values())
    summary = {
        "rows_in": report.rows_in,
        "rows_rejected": len(report.rejected) + len(failed),
        "rows_duplicate": len(report.duplicates),
        "rows_pool": len(usable),
        "shapes": report.shapes,
        "problems": dict(problems.most_common()),
        "truncated": int(encodings.truncated.sum()),
        "max_length": engine.length_limit(spec),
        "tokenizer": spec.label,
        "tokens": _spread(lengths),
        "response_tokens": _spread(replies),
        "sources": {
            name: {
                "rows": len(index),
                "tokens": int(lengths[index].sum()),
                "median_tokens": float(np.median(lengths[index])),
                "median_response_tokens": float(np.median(replies[index])),
            }
            for name, index in sorted(by_source.items(), key=lambda item: -len(item[1]))
        },
    }
    tokenizer = engine.tokenizer(spec)
    step = max(1, len(usable) // max(1, examples))
    shown = [_pieces(tokenizer, encodings.input_ids[i], encodings.loss_mask[i]) for i in range(0, len(usable), step)][:examples]
    return Inspection(summary, shown)


def show_inspection(console: Console, found: Inspection) -> None:
    """The inspection on a terminal."""
    s = found.summary
    console.print(
        f"{counted(s['rows_in'])} in = {s['rows_pool']:,} in the pool + {s['rows_rejected']:,} rejected + "
        f"{s['rows_duplicate']:,} duplicate; shape: {', '.join(f'{k} {v:,}' for k, v in s['shapes'].items())}",
        highlight=False,
    )
    for what, spread in (("tokens a row", s["tokens"]), ("reply tokens a row", s["response_tokens"])):
        text = f"{what}: median {spread['median']:.0f}, 5% {spread['p5']:.0f}, 95% {spread['p95']:.0f}, most {spread['max']:.0f}"
        console.print(f"{text}; {spread['total']:,} in all ({s['tokenizer']})", highlight=False)
    if s["truncated"]:
        console.print(f"{counted(s['truncated'])} cut to {s['max_length']} tokens", highlight=False)
    if s["problems"]:
        rows = [[reason, f"{count:,}"] for reason, count in s["problems"].items()]
        console.print(show_table("\nproblems", ("reason", "rows"), rows, right=("rows",)))
    columns = ("source", "rows", "tokens", "median tokens", "median reply")
    rows = [
        [name, f"{v['rows']:,}", f"{v['tokens']:,}", f"{v['median_tokens']:.0f}", f"{v['median_response_tokens']:.0f}"]
        for name, v in s["sources"].items()
    ]
    console.print(show_table("\nsources", columns, rows[:30], right=columns[1:]))
    for number, pieces in enumerate(found.examples, 1):
        console.print(Text(f"\nexample {number} (green is learned from)", style="bold"))
        console.print(Text.assemble(*((printable(text), "green" if learned else "dim") for text, learned in pieces)))


def _spread(values: np.ndarray) -> dict[str, float]:
    p5, median, p95 = np.quantile(values, [0.05, 0.5, 0.95]).tolist()
    return {"p5": p5, "median": median, "p95": p95, "max": int(values.max()), "total": int(values.sum())}


def _pieces(tokenizer: Any, input_ids: np.ndarray, mask: np.ndarray) -> list[tuple[str, bool]]:
    cuts = [0, *(np.flatnonzero(np.diff(mask.astype(np.int8))) + 1).tolist(), len(mask)]
    return [(tokenizer.decode(input_ids[a:b]), bool(mask[a])) for a, b in zip(cuts, cuts[1:], strict=False)]
