"""Looking at a pool before anything is computed with it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from curate.engine import Engine
from curate.pool import Pool
from curate.pool.near import near_duplicates
from curate.preparation import as_model, counts
from curate.report.table import printable, show_table
from curate.report.terminal import account_of
from curate.store import Store

NEAR = 0.8  # how near rows are that an inspection counts as near-duplicates
NEAR_ROWS = 20_000  # it takes some seconds for as many; more are looked at only where --near-duplicates asks for it
SHOWN_SOURCES = 30
SHOWN_CHARACTERS = 1500  # of an example
_BAR = 20


@dataclass(frozen=True)
class Example:
    """A rendered conversation. pieces: (text, whether it is learned from)."""

    row_id: str
    source: str | None
    pieces: list[tuple[str, bool]]


@dataclass(frozen=True)
class Inspection:
    """summary: numbers for machines. examples: a few conversations, of each of the largest sources first."""

    summary: dict[str, Any]
    examples: list[Example]


def inspect_pool(pool: Pool, model: str | None, options: Mapping[str, Any], store: Path | None, examples: int) -> Inspection:
    """Count, measure and sample a pool with a model's tokenizer and template.

    Near-duplicates are counted where the pool was not freed of them already and has at most NEAR_ROWS rows.
    """
    engine, spec = Engine(store=Store(store), **options), as_model(model)
    usable, rows, failed = engine.add("pool", pool, spec)
    encodings = engine.encodings(spec, rows)
    report, lengths, replies = pool.report, encodings.lengths, encodings.response_lengths
    near = None
    if "near_duplicates" not in report.refined and len(usable) <= NEAR_ROWS:
        near = np.zeros(len(usable), dtype=bool)
        near[near_duplicates(usable, NEAR).left_out] = True
    by_source: dict[str, list[int]] = {}
    for i, source in enumerate(usable.sources):
        by_source.setdefault(source or "(none)", []).append(i)
    largest_first = sorted(by_source.items(), key=lambda item: (-len(item[1]), item[0]))
    problems = Counter(report.reasons) + Counter(map(_alike, failed.values()))
    summary = {
        **counts(pool, usable),
        "shapes": report.shapes,
        "problems": dict(problems.most_common()),
        "near_duplicates": None if near is None else {"similarity": NEAR, "rows": int(near.sum())},
        "overlaps": report.refined.get("contaminated", {}).get("sets", []),
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
                "near_duplicates": None if near is None else int(near[index].sum()),
            }
            for name, index in largest_first
        },
    }
    tokenizer = engine.tokenizer(spec)
    shown = [
        Example(usable.row_ids[i], usable.sources[i], _pieces(tokenizer, encodings.input_ids[i], encodings.loss_mask[i]))
        for i in _examples([index for _, index in largest_first], lengths, examples)
    ]
    return Inspection(summary, shown)


def show_inspection(console: Console, found: Inspection) -> None:
    """The inspection on a terminal."""
    s = found.summary
    console.print(Text(account_of(s)))
    console.print(Text(f"shape: {', '.join(f'{shape} {rows:,}' for shape, rows in s['shapes'].items())}"))
    columns = (f"tokens ({s['tokenizer']})", "5%", "median", "95%", "most", "in all")
    spreads = (("a row", s["tokens"]), ("its replies", s["response_tokens"]))
    lines = [[name, *(f"{spread[key]:,.0f}" for key in ("p5", "median", "p95", "max", "total"))] for name, spread in spreads]
    console.print(show_table("\nlengths", columns, lines, right=columns[1:]))
    if s["truncated"]:
        cut = "1 row is" if s["truncated"] == 1 else f"{s['truncated']:,} rows are"
        console.print(Text(f"{cut} cut to {s['max_length']:,} tokens", style="yellow"))
    if s["problems"]:
        lines = [[reason, f"{count:,}"] for reason, count in s["problems"].items()]
        console.print(show_table("\nproblems", ("reason", "rows"), lines, right=("rows",)))
    _show_sources(console, s["sources"], s["near_duplicates"] is not None)
    _show_duplicates(console, s)
    for number, example in enumerate(found.examples, 1):
        console.print()
        console.print(_panel(number, example))
    if found.examples:
        console.print(Text.assemble("what is learned from is ", ("green", "green"), "; the rest is read"), style="dim")


def _show_sources(console: Console, sources: Mapping[str, Mapping[str, Any]], near: bool) -> None:
    columns = ["source", "rows", "", "tokens", "median", "reply", *(["near"] if near else [])]
    most = max(source["rows"] for source in sources.values())
    lines = []
    for name, source in list(sources.items())[:SHOWN_SOURCES]:
        bar = Text("━" * max(1, round(_BAR * source["rows"] / most)), style="cyan")
        medians = [f"{source[key]:.0f}" for key in ("median_tokens", "median_response_tokens")]
        more = [f"{source['near_duplicates']:,}"] if near else []
        lines.append([name, f"{source['rows']:,}", bar, f"{source['tokens']:,}", *medians, *more])
    console.print(show_table("\nsources", columns, lines, right=[column for column in columns if column not in ("source", "")]))
    if len(sources) > SHOWN_SOURCES:
        console.print(Text(f"and {len(sources) - SHOWN_SOURCES:,} smaller ones", style="dim"))


def _show_duplicates(console: Console, s: Mapping[str, Any]) -> None:
    near = s["near_duplicates"]
    if near and near["rows"]:
        rows, share = near["rows"], near["rows"] / s["rows_pool"]
        console.print(
            f"\nnear-duplicates: {rows:,} ({share:.1%}), as near as {near['similarity']} to a row that would stay; "
            f"--near-duplicates {near['similarity']} leaves them out", highlight=False,
        )  # fmt: skip
    elif s["rows_pool"] > NEAR_ROWS and not s["rows_near_duplicate"]:
        limit = f"\nnear-duplicates are not counted above {NEAR_ROWS:,} rows; --near-duplicates {NEAR} looks"
        console.print(limit, highlight=False)
    if s["overlaps"]:
        columns = ("evaluation set", "rows", "replies shared", "prompts shared", "left out")
        lines = []
        for one in s["overlaps"]:
            shares = (f"{one[key]:,} ({one[key] / one['rows']:.1%})" for key in ("replies", "prompts"))
            lines.append([Path(one["name"]).name, f"{one['rows']:,}", *shares, f"{one['pool_rows']:,}"])
        title = "\noverlap (rows of the set that the pool shares, and pool rows left out for it)"
        console.print(show_table(title, columns, lines, right=columns[1:]))


def _panel(number: int, example: Example) -> Panel:
    text = Text.assemble(*((printable(piece), "green" if learned else "dim") for piece, learned in example.pieces))
    text.rstrip()
    if len(text) > SHOWN_CHARACTERS:
        left = len(text) - SHOWN_CHARACTERS
        text = text[:SHOWN_CHARACTERS].append(f" ... and {left:,} characters", style="italic")
    title = Text(f"example {number} · {printable(example.source or '(no source)')}", style="bold")
    return Panel(text, title=title, title_align="left", subtitle=Text(example.row_id, style="dim"), subtitle_align="right",
                 border_style="dim")  # fmt: skip


def _examples(sources: list[list[int]], lengths: np.ndarray, count: int) -> list[int]:
    """Positions, of each source in turn, as many of each as it takes: evenly from its shortest row to its longest."""
    count = min(count, len(lengths))
    each = -(-count // len(sources))
    while sum(min(each, len(index)) for index in sources) < count:
        each += 1
    chosen: list[list[int]] = []
    for index in sources:
        ordered = sorted(index, key=lambda i: (int(lengths[i]), i))
        some = min(each, len(ordered))
        chosen.append([ordered[(2 * k + 1) * len(ordered) // (2 * some)] for k in range(some)])
    return [turn for turns in zip_longest(*chosen) for turn in turns if turn is not None][:count]


def _alike(reason: str) -> str:
    """A reason without what is of its row alone, which is long."""
    return reason if len(reason) <= 80 else reason.split(": ", 1)[0]


def _spread(values: np.ndarray) -> dict[str, float]:
    p5, median, p95 = np.quantile(values, [0.05, 0.5, 0.95]).tolist()
    return {"p5": p5, "median": median, "p95": p95, "max": int(values.max()), "total": int(values.sum())}


def _pieces(tokenizer: Any, input_ids: np.ndarray, mask: np.ndarray) -> list[tuple[str, bool]]:
    cuts = [0, *(np.flatnonzero(np.diff(mask.astype(np.int8))) + 1).tolist(), len(mask)]
    return [(tokenizer.decode(input_ids[a:b]), bool(mask[a])) for a, b in zip(cuts, cuts[1:], strict=False)]
