"""Influence of rows on target rows from their gradients, and a row's score from that (LESS, arXiv 2402.04333)."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

BLOCK = 4096  # rows whose copies are held at once


def unit(vectors: ArrayLike) -> NDArray[np.float32]:
    """float32 [n, d]: rows scaled to length 1; NaN where a row is zero or not finite."""
    given = np.asarray(vectors)
    out = np.empty(given.shape, dtype=np.float32)
    for start in range(0, len(given), BLOCK):
        part = given[start : start + BLOCK].astype(np.float64)
        largest = np.abs(part).max(axis=1, keepdims=True, initial=0)  # first, so that no square overflows or vanishes
        with np.errstate(invalid="ignore", divide="ignore"):
            part /= largest
            part /= np.linalg.norm(part, axis=1, keepdims=True)
        part[~np.isfinite(part).all(axis=1)] = np.nan
        out[start : start + BLOCK] = part
    return out


def cosines(rows: ArrayLike, targets: ArrayLike) -> NDArray[np.float32]:
    """float32 [n, m]: of each row [n, d] with each target [m, d]; NaN where one of them has no direction."""
    given, b = np.asarray(rows), unit(targets)
    found = np.full((len(given), len(b)), np.nan, dtype=np.float32)
    if given.shape[1] and b.shape[1]:
        for start in range(0, len(given), BLOCK):
            found[start : start + BLOCK] = unit(given[start : start + BLOCK]) @ b.T
    return found


def influence(checkpoints: Iterable[tuple[float, ArrayLike]]) -> NDArray[np.float64]:
    """float64 [n, m]: the sum of cosines [n, m] over checkpoints, weighted by learning rates that are scaled to sum 1.

    Raises ValueError without a checkpoint, or where a rate is negative or they sum to 0.
    """
    total: NDArray[np.float64] | None = None
    rates = 0.0
    for rate, matrix in checkpoints:
        if not rate >= 0:
            raise ValueError(f"a learning rate must not be negative, and one is {rate}")
        part = rate * np.asarray(matrix, dtype=np.float64)
        total = part if total is None else total + part
        rates += rate
    if total is None or rates == 0:
        raise ValueError("influence needs a checkpoint with a learning rate")
    return total / rates


def best_subtask(matrix: ArrayLike, subtasks: Sequence[str | None]) -> NDArray[np.float64]:
    """float64 [n]: the mean over the targets of each subtask, and of these means the largest.

    matrix    [n, m], influence of each row on each target. A target on which no row has a number is left out.
    subtasks  of each target, [m]; None is a subtask of its own. They may be of any sizes.

    NaN where a row has none. Raises ValueError when no target is left.
    """
    values = np.asarray(matrix, dtype=np.float64)
    if values.shape[1] != len(subtasks):
        raise ValueError(f"{len(subtasks)} subtasks for {values.shape[1]} targets")
    there = ~np.isnan(values).all(axis=0)
    if not there.any():
        raise ValueError("no target has a number")
    members: dict[str | None, list[int]] = {}
    for j in np.flatnonzero(there).tolist():
        members.setdefault(subtasks[j], []).append(j)
    return np.max([values[:, columns].mean(axis=1) for columns in members.values()], axis=0)


def to_mean_direction(vectors: ArrayLike) -> float:
    """The mean cosine between rows [n, d] and the mean of their directions: near 1 when they all share one.

    Then cosines with anything else say little. NaN when no row has a direction.
    """
    given = np.asarray(vectors)
    total, count = np.zeros(given.shape[1]), 0
    for start in range(0, len(given), BLOCK):
        directions = unit(given[start : start + BLOCK])
        directions = directions[~np.isnan(directions).any(axis=1)]
        total += directions.sum(axis=0, dtype=np.float64)
        count += len(directions)
    # The mean of the products with the mean direction is the mean's own product with it, which is its length.
    return float(np.linalg.norm(total / count)) if count else float("nan")
