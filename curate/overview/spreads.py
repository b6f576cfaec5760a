"""How scores, lengths and sources are spread over the pool, and over what each method picked."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from curate.overview.picked import Picked

BINS = 30
TAIL = 0.005  # of the scores at either end that share the outermost bin
SOURCES = 12  # that are named; the others are one line
REASONS = 5  # for null scores that are named


def score_spread(one: Picked) -> dict[str, Any]:
    """The histogram of a method's scores: edges [b + 1], pool and kept [b] rows; what lies outside is in the outermost bins.

    Also `median`, the rows without a score (`null`) with their reasons, and `larger`: whether larger scores
    are kept first; None where it is neither they nor the smaller ones.
    """
    values = one.scores.values
    there = np.isfinite(values)
    reasons = Counter(str(reason) for reason in one.scores.reasons[~there])
    low, high = np.quantile(values[there], [TAIL, 1 - TAIL])
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BINS + 1)
    picked = np.intersect1d(one.index, np.flatnonzero(there))
    return {
        "edges": _short(edges),
        "pool": _histogram(values[there], edges),
        "kept": _histogram(values[picked], edges),
        "median": float(np.median(values[there])),
        "larger": _larger(values[there], one.preference[there]),
        "null": int((~there).sum()),
        "null_reasons": dict(reasons.most_common(REASONS)),
    }


def length_spread(lengths: np.ndarray, picks: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The histogram of lengths in tokens, int64 [n]: edges that grow by a factor, rows of the pool and of each method's picks,
    and the medians."""
    low, high = max(1, int(lengths.min())), max(2, int(lengths.max()) + 1)
    edges = np.unique(np.round(np.geomspace(low, high, BINS + 1)))
    return {
        "edges": edges.tolist(),
        "pool": _histogram(lengths, edges),
        "kept": {name: _histogram(lengths[index], edges) for name, index in picks.items()},
        "median": {
            "pool": float(np.median(lengths)),
            **{name: float(np.median(lengths[index])) for name, index in picks.items() if len(index)},
        },
    }


def source_spread(sources: Sequence[str | None], picks: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Rows of the pool and of each method's picks by source, the largest first; what is beyond SOURCES is one line, `other`.

    names [s]; pool [s]; kept: [s] by method.
    """
    said = np.array([source or "(no source)" for source in sources], dtype=object)
    found = sorted(Counter(said.tolist()).items(), key=lambda item: (-item[1], item[0]))
    named = [name for name, _ in found[: SOURCES if len(found) > SOURCES + 1 else None]]
    code = {name: i for i, name in enumerate(named)}
    codes = np.array([code.get(name, len(named)) for name in said])
    names = [*named, f"{len(found) - len(named)} others"] if len(found) > len(named) else named
    count = lambda index: np.bincount(codes[index], minlength=len(names)).tolist()  # noqa: E731
    return {"names": names, "pool": count(slice(None)), "kept": {name: count(index) for name, index in picks.items()}}


def _larger(values: np.ndarray, preference: np.ndarray) -> bool | None:
    return True if np.array_equal(preference, values) else False if np.array_equal(preference, -values) else None


def _histogram(values: np.ndarray, edges: np.ndarray) -> list[int]:
    counts: list[int] = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0].tolist()
    return counts


def _short(values: np.ndarray) -> list[float]:
    return [float(f"{value:.6g}") for value in values]
