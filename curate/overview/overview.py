"""The overview of a run: made when the pool, the scores and the picks are at hand, so that a report needs none of them."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from curate.engine import Engine
from curate.lm.models import ModelSpec
from curate.overview.embedded import SHOWN, clusters, embed_some, mapped
from curate.overview.examples import examples, masks, token_views
from curate.overview.likeness import likeness
from curate.overview.picked import Picked, choosing
from curate.overview.spreads import length_spread, score_spread, source_spread
from curate.pool.report import Rejected
from curate.preparation import Prepared, Unusable

FILE = "overview.json"
VERSION = 1
PURPOSE = 0x6F766572  # keeps its random numbers apart from those of methods
PLACES = 3  # of rows left out for one reason that are named


def overview(
    engine: Engine,
    prepared: Prepared,
    picked: Sequence[Picked],
    model: ModelSpec,
    account: Mapping[str, int],
    *,
    budget: str | None = None,
) -> dict[str, Any]:
    """What reports show of a prepared pool and of what methods scored and picked in it, as plain values of JSON.

    picked   one for each method.
    model    the one to be trained, as which conversations are shown.
    account  rows in and what they are the sum of (`preparation.counts`).
    budget   of the picks, for people.

    Of bounded size: rows are counted in bins or drawn at random by the run's seed.
    """
    rng = np.random.default_rng([prepared.data.seed, PURPOSE])
    picks, rows = choosing(picked), len(prepared.pool)
    some = embed_some(prepared, picked, rng)
    drawn = np.unique(np.concatenate([*some.kept.values(), np.empty(0, np.int64)]))
    titles = {int(p): _title(messages) for p, (messages, _) in zip(drawn, prepared.pool.conversations(drawn), strict=True)}
    return {
        "version": VERSION,
        "rows": rows,
        "seed": prepared.data.seed,
        "budget": budget,
        "methods": [one.name for one in picked],
        "picks": {name: len(index) for name, index in picks.items()},
        "account": dict(account),
        "left_out": _left_out(prepared),
        "replies": length_spread(prepared.table["response_tokens"].to_numpy(), picks),
        "sources": source_spread(prepared.pool.sources, picks),
        "scores": {one.name: score_spread(one) for one in picked if one.scored},
        "likeness": likeness(picked, rows, rng),
        "clusters": clusters(some, rng),
        "map": mapped(some, titles, rng),
        "examples": [examples(prepared, one, some) for one in picked if one.picks is not None],
        "tokens": [view for one in picked if (view := token_views(engine, model, prepared, one))],
        "masks": masks(engine, model, prepared),
    }


def write_overview(folder: Path, found: dict[str, Any]) -> None:
    """overview.json in a folder that is being made."""
    (folder / FILE).write_text(json.dumps(found, allow_nan=False) + "\n")


def read_overview(folder: Path) -> dict[str, Any] | None:
    """What `write_overview` wrote; None where there is none, or one of another version."""
    try:
        found: dict[str, Any] = json.loads((folder / FILE).read_text())
    except FileNotFoundError:
        return None
    return found if found.get("version") == VERSION else None


def _title(messages: Sequence[Any]) -> str:
    asked = next((str(m["content"]) for m in messages if m["role"] == "user" and m.get("content")), "")
    line = " ".join(asked.split())
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"


def _left_out(prepared: Prepared) -> list[dict[str, Any]]:
    """Rejected rows by reason, most frequent first: reason, rows, and the first few as file, line and the whole reason."""
    found: list[Rejected | Unusable] = [*prepared.pool.report.rejected, *prepared.unusable]
    count = Counter(_phrase(row.reason) for row in found)
    places: dict[str, list[dict[str, Any]]] = {}
    for row in found:
        at = places.setdefault(_phrase(row.reason), [])
        if len(at) < PLACES:
            at.append({"file": Path(row.file).name, "line": row.line, "reason": row.reason[:200]})
    return [{"reason": reason, "rows": rows, "places": places[reason]} for reason, rows in count.most_common()]


def _phrase(reason: str) -> str:
    return reason.split(": ", 1)[0][:120]
