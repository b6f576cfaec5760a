"""How diverse a set of vectors is: the log-determinant distance (arXiv 2402.02318)."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.selectors.cholesky import Gram
from curate.selectors.greedy_map import SMALLEST, Features, greedy_map
from curate.selectors.similarity import Similarity

PICKS = 1_000
REFERENCE_ROWS = 2_000
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Diversity:
    """A log-determinant distance, and all that must agree for two of them to compare.

    distance       nats a pick: 0 is as diverse as points spread evenly over the sphere, more is less diverse.
    spread         largest less smallest distance over the references; None for one.
    mean_log_gain  of the data; reference: of the references, their mean.
    spanned        picks for which the data had no direction left.
    """

    distance: float
    spread: float | None
    mean_log_gain: float
    reference: float
    rows: int
    picks: int
    reference_rows: int
    dimensions: int
    similarity: str
    gamma: float
    seeds: tuple[int, ...]
    spanned: int

    def report(self) -> dict[str, Any]:
        """For machines."""
        return {**asdict(self), "seeds": list(self.seeds)}


def log_determinant_distance(
    values: NDArray,
    *,
    picks: int = PICKS,
    reference_rows: int = REFERENCE_ROWS,
    similarity: Similarity = Similarity("sphere"),  # noqa: B008 (frozen)
    seeds: Sequence[int] = SEEDS,
    progress: Callable[[float], None] = lambda done: None,
) -> Diversity:
    """LDD = (sum_{t <= M} log d2_t of a reference - sum_{t <= M} log d2_t of the data) / M, by greedy MAP on each.

    values          float [N, d]; rows that are not finite or have no direction are left out.
    picks           M, at most the rows there are.
    reference_rows  N_ref points spread evenly over the unit sphere of d dimensions, for each of the seeds; the distance is the
                    mean over them. More points give slightly larger gains.
    progress        called with 1 after the data and after each reference.

    Once the picks span every row that is left, each further pick counts log 1e-10. Raises ValueError when no row can be used, or
    the reference has fewer rows than are picked.
    """
    used = values[similarity.usable(values)]
    if not len(used):
        raise ValueError("no row can be used")
    picks = min(picks, len(used))
    if reference_rows < picks:
        raise ValueError(f"a reference of {reference_rows} rows for {picks} picks")
    mean, spanned = mean_log_gain(Features(used, similarity), picks)
    progress(1)
    means = []
    for seed in seeds:
        points = on_sphere(reference_rows, used.shape[1], seed)
        means.append(mean_log_gain(Features(points, similarity), picks)[0])
        progress(1)
    reference = float(np.mean(means))
    return Diversity(
        distance=reference - mean,
        spread=float(np.ptp(means)) if len(means) > 1 else None,
        mean_log_gain=mean,
        reference=reference,
        rows=len(used),
        picks=picks,
        reference_rows=reference_rows,
        dimensions=used.shape[1],
        similarity=similarity.name,
        gamma=similarity.gamma,
        seeds=tuple(seeds),
        spanned=spanned,
    )


def mean_log_gain(gram: Gram, picks: int) -> tuple[float, int]:
    """(mean of log d2 over the first picks of greedy MAP, how many picks counted log SMALLEST as nothing was left for them)."""
    logs = [log_variance for *_, log_variance in islice(greedy_map(gram), picks)]
    spanned = picks - len(logs)
    return float(np.sum([*logs, spanned * np.log(SMALLEST)])) / picks, spanned


def on_sphere(n: int, d: int, seed: int) -> NDArray[np.float64]:
    """float64 [n, d]: points spread evenly over the unit sphere."""
    points = np.random.default_rng(seed).normal(size=(n, d))
    return points / np.linalg.norm(points, axis=1, keepdims=True)
