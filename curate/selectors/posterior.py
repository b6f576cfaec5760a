"""Greedy picks that leave the least uncertainty about some targets: a Gaussian process with the linear kernel."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curate.budget import Limit
from curate.selectors.picks import Picks, take

BLOCK = 4096  # rows at once
TIE = 1e-9  # of the largest gain: gains nearer than this are ties
_DROPPED = 1e-12  # a row's variance below this is rounding


def first_gains(rows: NDArray, targets: NDArray, noise: float) -> NDArray[np.float64]:
    """float64 [n]: what each row takes from the targets' variance when nothing is picked."""
    found, aims = np.empty(len(rows)), np.asarray(targets, dtype=np.float64)
    for start in range(0, len(rows), BLOCK):
        some = np.asarray(rows[start : start + BLOCK], dtype=np.float64)
        found[start : start + BLOCK] = ((some @ aims.T) ** 2).sum(axis=1) / ((some**2).sum(axis=1) + noise)
    return found


def posterior(rows: ArrayLike, targets: ArrayLike, limit: Limit, *, noise: float, eligible: NDArray[np.int64]) -> Picks:
    """Take the row that takes most from the sum of the targets' posterior variances, given those taken before.

    rows [n, d] and targets [t, d]  finite; of unit vectors a variance is 1 before anything is picked.
    noise     the variance of an observation, above 0: the larger, the more picks are simply the nearest.
    eligible  positions that may be picked, each once.

    A pick conditions the kernel: k(a, b) loses k(a, x) k(x, b) / (k(x, x) + noise). In the space of features this is a rank-one
    downdate of a d x d matrix, so a pick costs O(n (d + t)) and no n x n matrix is ever made. Takes rows until the next would
    exceed the budget. Ties go to the lower index. `gain` is what a pick takes. Source: SIFT, arXiv 2410.08020.
    Raises ValueError for a noise that is not above 0.
    """
    if not noise > 0:
        raise ValueError(f"noise must be above 0, not {noise}")
    some, aims = np.asarray(rows)[eligible].astype(np.float64), np.asarray(targets, dtype=np.float64)
    index, gain, said = take(_steps(some, aims, noise), eligible, limit)
    reasons = [f"takes {value:.4g} from the targets' variance" for value in gain.tolist()]
    return Picks(index, gain, [None] * len(index), reasons, limit.costs.size - len(eligible), said)


def _steps(rows: NDArray, targets: NDArray, noise: float) -> Iterator[tuple[int, float]]:
    own = np.einsum("nd,nd->n", rows, rows)  # k(x, x) of every row
    aimed = targets @ rows.T  # k(t, x) [t, n]
    kernel = np.eye(rows.shape[1])  # k(a, b) = a kernel b
    left = np.ones(len(rows), dtype=bool)
    while left.any():
        gains = np.where(left, (aimed**2).sum(axis=0) / (own + noise), -np.inf)
        best = gains.max()
        row = int(np.argmax(gains >= best - TIE * abs(best)))
        yield row, float(gains[row])
        left[row] = False
        towards = kernel @ rows[row]
        scale = float(rows[row] @ towards) + noise
        with_row = rows @ towards
        aimed -= np.outer(targets @ towards, with_row) / scale
        own = np.maximum(own - with_row**2 / scale, _DROPPED)
        kernel -= np.outer(towards, towards) / scale
