"""Looking at a pool before anything is computed with it."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from curate.engine import Engine
from curate.lm.chat import ChatFormat
from curate.lm.pieces import pieces
from curate.pool import Pool
from curate.pool.near import near_duplicates
from curate.pool.report import Rejected
from curate.preparation import Unusable, as_model, counts, unusable_rows
from curate.report.diversity import pool_diversity
from curate.store import Store

NEAR = 0.8  # how near rows are that an inspection counts as near-duplicates
NEAR_ROWS = 20_000  # it takes some seconds for as many; more are looked at only where --near-duplicates asks for it
REASONING_ROWS = 2_000  # rows with reasoning that are looked at: each is printed twice a reply
PLACES = 3  # of each problem that are named


@dataclass(frozen=True)
class Example:
    """A rendered conversation. pieces: (text, how much its tokens count in the loss; 0: they are only read)."""

    row_id: str
    source: str | None
    pieces: list[tuple[str, float]]


@dataclass(frozen=True)
class Inspection:
    """summary: numbers for machines. examples: a few conversations, of each of the largest sources first."""

    summary: dict[str, Any]
    examples: list[Example]


def inspect_pool(
    pool: Pool,
    model: str | None,
    options: Mapping[str, Any],
    store: Path | None,
    examples: int,
    diversity: str | None = None,
) -> Inspection:
    """Count, measure and sample a pool with a model's tokenizer and template.

    diversity  the embedder by which the pool's log-determinant distance is measured; None: it is not.

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
    places = _places(report.rejected, unusable_rows(pool, failed))
    repeats = usable.repeats
    summary = {
        **counts(pool, usable, int(encodings.truncated.sum())),
        "shapes": report.shapes,
        "rows_written": int(repeats.sum()),
        "problems": dict(problems.most_common()),
        "problems_at": {reason: places[reason][:PLACES] for reason, _ in problems.most_common()},
        "near_duplicates": None if near is None else {"similarity": NEAR, "rows": int(near.sum())},
        "overlaps": report.refined.get("contaminated", {}).get("sets", []),
        "reasoning": _reasoning(usable, ChatFormat(engine.tokenizer(spec))),
        "rows_weighted": len(encodings.weights),
        "max_length": engine.length_limit(spec),
        "tokenizer": spec.label,
        "tokens": _spread(lengths),
        "response_tokens": _spread(replies),
        "sources": {
            name: {
                "rows": len(index),
                "written": int(repeats[index].sum()),
                "tokens": int(lengths[index].sum()),
                "median_tokens": float(np.median(lengths[index])),
                "median_response_tokens": float(np.median(replies[index])),
                "near_duplicates": None if near is None else int(near[index].sum()),
            }
            for name, index in largest_first
        },
        "diversity": None if diversity is None else pool_diversity(usable, diversity, engine, model=spec),
    }
    tokenizer, ids = engine.tokenizer(spec), usable.row_ids

    def weights(i: int) -> np.ndarray:
        return encodings.weights.get(ids[i], encodings.loss_mask[i].astype(np.float32))

    shown = [
        Example(ids[i], usable.sources[i], pieces(tokenizer, encodings.input_ids[i], weights(i)))
        for i in _examples([index for _, index in largest_first], lengths, examples)
    ]
    return Inspection(summary, shown)


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


def _phrase(reason: str) -> str:
    """A reason of the reader's without its detail."""
    return reason.split(": ", 1)[0]


def _alike(reason: str) -> str:
    """A reason without what is of its row alone, which is long."""
    return reason if len(reason) <= 80 else _phrase(reason)


def _places(rejected: Sequence[Rejected], unusable: Sequence[Unusable]) -> dict[str, list[dict[str, Any]]]:
    """By reason the rows that have it, in the order in which they were read: file, line, and detail (None for none)."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for rows, short in ((rejected, _phrase), (unusable, _alike)):
        for row in rows:
            reason = short(row.reason)
            detail = row.reason[len(reason) :].removeprefix(": ") or None
            found[reason].append({"file": row.file, "line": row.line, "detail": detail})
    return found


def _reasoning(pool: Pool, chat_format: ChatFormat) -> dict[str, int] | None:
    """rows with reasoning (the first few of them), their replies with reasoning, and of how many the template drops it."""
    if not any(field.name == "reasoning_content" for field in pool.rows.schema.field("messages").type.value_type):
        return None
    rows = replies = dropped = 0
    for i in range(len(pool)):
        messages = pool.messages(i)
        thoughtful = sum(bool(m.get("reasoning_content")) for m in messages if m["role"] == "assistant")
        if thoughtful:
            rows, replies = rows + 1, replies + thoughtful
            dropped += len(chat_format.without_reasoning(messages, pool.tools(i)))
        if rows == REASONING_ROWS:
            break
    return {"rows": rows, "replies": replies, "dropped": dropped} if rows else None


def _spread(values: np.ndarray) -> dict[str, float]:
    p5, median, p95 = np.quantile(values, [0.05, 0.5, 0.95]).tolist()
    return {"p5": p5, "median": median, "p95": p95, "max": int(values.max()), "total": int(values.sum())}
