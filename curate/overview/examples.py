"""A few conversations that a method kept and dropped, and what of a conversation is learned."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from curate.engine import Engine
from curate.lm.encodings import scored_positions
from curate.lm.models import ModelSpec
from curate.lm.pieces import pieces
from curate.overview.embedded import Embedded
from curate.overview.picked import Picked
from curate.preparation import Prepared

KEPT = 3
CHARACTERS = 360  # of a message that are shown
MESSAGES = 4  # of a conversation that are shown
TOKEN_ROWS, MASK_ROWS = 3, 3
TOKENS = 240  # of a conversation that are shown token by token


def examples(prepared: Prepared, one: Picked, some: Embedded) -> dict[str, Any]:
    """kept: the first, second and middle pick; dropped: of a method that scores, the rows that just missed and the last ones,
    else the rows most and least like what is kept. Each with its conversation, why, and the nearest kept neighbour."""
    assert one.picks is not None
    ranks = _ranks(one) if one.scored else {}
    best = one.index[np.unique(np.array([0, 1, len(one.index) // 2]).clip(max=len(one.index) - 1))] if len(one.index) else []
    why = dict(zip(one.index.tolist(), one.picks.reason, strict=True))
    order = {position: rank for rank, position in enumerate(one.index.tolist(), 1)}
    kept = [
        {**_row(prepared, one, position, ranks), "pick": order[position], "why": why[position]} for position in map(int, best)
    ]
    dropped = []
    for position, said in _dropped(one, some, ranks):
        near = some.nearest(position, one.name)
        neighbour = None if near is None else {**_row(prepared, one, near[0], ranks), "cosine": near[1]}
        dropped.append({**_row(prepared, one, position, ranks), "why": said, "neighbour": neighbour})
    return {"method": one.name, "kept": kept, "dropped": dropped, "among": len(some.kept[one.name]), "picks": len(one.index)}


def _ranks(one: Picked) -> dict[int, int]:
    there = np.flatnonzero(np.isfinite(one.preference))
    order = there[np.argsort(-one.preference[there], kind="stable")]
    return {int(position): rank for rank, position in enumerate(order.tolist(), 1)}


def _dropped(one: Picked, some: Embedded, ranks: dict[int, int]) -> list[tuple[int, str]]:
    """Rows that were not picked, and in words why they are shown."""
    if ranks:
        picked = set(one.index.tolist())
        left = [position for position in ranks if position not in picked]
        found = [(position, "the best that was left") for position in left[:1]]
        found += [(position, "the next best that was left") for position in left[1:2]]
        found += [(position, "the last by score") for position in left[2:][-1:]]
        null = np.flatnonzero(~np.isfinite(one.preference))
        return found + [(int(position), f"no score: {one.scores.reasons[position]}") for position in null[:1]]
    rest = np.setdiff1d(some.pool, one.index)
    if not len(rest) or not len(some.kept[one.name]):
        return []
    likeness = (some.vectors[some.at(rest)] @ some.vectors[some.at(some.kept[one.name])].T).max(1)
    order = rest[np.argsort(-likeness, kind="stable")]
    said = [(order[0], "the most like a row that was kept"), (order[-1], "the least like any row that was kept")]
    return [(int(position), text) for position, text in said[: len(order)]]


def _row(prepared: Prepared, one: Picked, position: int, ranks: dict[int, int]) -> dict[str, Any]:
    pool, score = prepared.pool, one.scores.values[position]
    return {
        "row_id": pool.row_ids[position],
        "source": pool.sources[position],
        "messages": conversation(pool.messages(position)),
        "score": float(score) if one.scored and np.isfinite(score) else None,
        "rank": ranks.get(position),
        "ranked": len(ranks),
    }


def conversation(messages: Sequence[Any]) -> list[list[str]]:
    """The first messages, [role, text] each, cut to what can be shown."""
    shown = [[str(message["role"]), _cut(str(message.get("content") or ""), CHARACTERS)] for message in messages[:MESSAGES]]
    more = len(messages) - len(shown)
    return [*shown, ["", f"… and {more:,} more messages"]] if more > 0 else shown


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def token_views(engine: Engine, model: ModelSpec, prepared: Prepared, one: Picked) -> dict[str, Any] | None:
    """Some picks of a method that chose tokens, with which of their reply tokens count: `read`, `kept` or `dropped`; None for a
    method that chose none. The rows are those whose share of dropped tokens is nearest to the middle of all."""
    if one.picks is None or one.picks.tokens is None or not len(one.index):
        return None
    tokens = one.picks.tokens
    share = np.array([1 - np.count_nonzero(row) / max(1, len(row)) for row in tokens])
    typical = np.argsort(np.abs(share - np.median(share)), kind="stable")
    chosen = typical[: max(TOKEN_ROWS, len(typical) // 4)]
    longest = sorted(chosen.tolist(), key=lambda i: (-min(len(tokens[i]), TOKENS // 2), one.index[i]))[:TOKEN_ROWS]
    encodings, tokenizer = engine.encodings(model, prepared.rows), engine.tokenizer(model)
    rows = []
    for i in longest:
        position = int(one.index[i])
        state = np.zeros(len(encodings.input_ids[position]), dtype=np.int64)
        state[scored_positions(encodings.loss_mask[position])] = np.where(tokens[i] > 0, 1, 2)
        shown = pieces(tokenizer, encodings.input_ids[position][:TOKENS], state[:TOKENS])
        rows.append(
            {
                "row_id": encodings.row_ids[position],
                "source": prepared.pool.sources[position],
                "kept": int(np.count_nonzero(tokens[i])),
                "scored": len(tokens[i]),
                "cut": max(0, len(state) - TOKENS),
                "pieces": [[text, ("read", "kept", "dropped")[int(mark)]] for text, mark in shown],
            }
        )
    total, kept = sum(map(len, tokens)), sum(int(np.count_nonzero(row)) for row in tokens)
    return {"method": one.name, "scored": total, "kept": kept, "rows": rows}


def masks(engine: Engine, model: ModelSpec, prepared: Prepared) -> list[dict[str, Any]]:
    """A few conversations as the model has them, and which of their tokens are learned; of several sources, of median length."""
    encodings, tokenizer = engine.encodings(model, prepared.rows), engine.tokenizer(model)
    lengths, sources = encodings.lengths, prepared.pool.sources
    order = np.argsort(np.abs(lengths - np.median(lengths)), kind="stable").tolist()
    first: dict[str | None, int] = {}
    for i in order:
        first.setdefault(sources[i], i)
    chosen = list(dict.fromkeys([*first.values(), *order]))[:MASK_ROWS]
    found = []
    for i in chosen:
        ids = encodings.input_ids[i]
        weights = encodings.weights.get(encodings.row_ids[i], encodings.loss_mask[i].astype(np.float32))
        shown = [[text, float(weight)] for text, weight in pieces(tokenizer, ids[:TOKENS], weights[:TOKENS])]
        counts = {"tokens": len(ids), "learned": int(np.count_nonzero(weights)), "cut": max(0, len(ids) - TOKENS)}
        found.append({"row_id": encodings.row_ids[i], "source": sources[i], **counts, "pieces": shown})
    return found
