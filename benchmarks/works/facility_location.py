"""Facility location on vectors, kernel included

Cosine similarities of Gaussian vectors around a centre for every 20 rows (1,000 at 20,000 rows), and without centres, which is
harder; greedy for a tenth of the rows. `objective` is sum_i max_j s_ij of the picks, exactly; `reached` is the part of an upper
bound of the best possible that it is at least, as the selector says it (`estimated`: with 97.5% confidence).
"""

import numpy as np
from speed import CannotRun
from works_data import vectors

REACH = (
    "n=20,000: 5 times as fast as the better peer, the same objective to 1e-6, below 2 GB; n=200,000: minutes, below 8 GB, "
    "0.97 of the bound; n=1,000,000: below 20 GB"
)
SIZES = {
    f"n={n:,} d=256 k={n // 10:,}{'' if centres else ' no centres'}": {"n": n, "d": 256, "k": n // 10, "centres": centres}
    for n in (20_000, 200_000, 1_000_000)
    for centres in (1_000, 0)
}
GROWTH = ("n", (25_000, 50_000, 100_000, 200_000), {"d": 256, "k": 0, "centres": 1_000})
HELD = 24e9  # bytes that a peer's dense kernel may take


def objective(values: np.ndarray, picked: np.ndarray) -> float:
    """sum_i max_j s_ij, at least 0 each; similarities in float32, their sum in float64."""
    total = 0.0
    for first in range(0, len(values), 4096):
        best = np.zeros(len(values[first : first + 4096]), np.float32)
        for start in range(0, len(picked), 4096):
            best = np.maximum(best, (values[first : first + 4096] @ values[picked[start : start + 4096]].T).max(axis=1))
        total += float(best.sum(dtype=np.float64))
    return total


def ours(n: int, d: int, k: int, centres: int):  # type: ignore[no-untyped-def]
    from curate.budget import Budget
    from curate.selectors.facility_location import facility_location
    from curate.selectors.vector_kernel import Vectors

    values = vectors(n, d, centres)
    limit = Budget.parse(k or n // 10).limit(np.ones(n))
    large = n > 25_000  # peers say nothing of how good picks are

    def run():  # type: ignore[no-untyped-def]
        found = facility_location(Vectors(values), limit, bounded=large)
        said = {"reached": " ".join(found.remarks[1:])} if large else {}
        return lambda: {"objective": objective(values, found.index), **said}

    return run


def refuse(n: int) -> None:
    if n * n * 4 > HELD:
        raise CannotRun(f"its dense kernel takes {n * n * 4 / 1e9:,.0f} GB in float32")


def apricot(n: int, d: int, k: int, centres: int):  # type: ignore[no-untyped-def]
    try:
        from apricot import FacilityLocationSelection
    except ImportError as error:
        raise CannotRun(f"not installed: {error}") from None
    refuse(n)
    values = vectors(n, d, centres)

    def run():  # type: ignore[no-untyped-def]
        found = FacilityLocationSelection(k, metric="precomputed", optimizer="lazy").fit(np.maximum(values @ values.T, 0))
        return lambda: {"objective": objective(values, np.asarray(found.ranking))}

    return run


def submodlib(n: int, d: int, k: int, centres: int):  # type: ignore[no-untyped-def]
    try:
        from submodlib import FacilityLocationFunction
    except ImportError as error:
        raise CannotRun(f"not installed: {error}") from None
    refuse(n)
    values = vectors(n, d, centres)

    def run():  # type: ignore[no-untyped-def]
        kernel = np.ascontiguousarray(np.maximum(values @ values.T, 0))
        function = FacilityLocationFunction(n=n, mode="dense", sijs=kernel, separate_rep=False)
        picked = function.maximize(budget=k, optimizer="LazyGreedy", show_progress=False)
        return lambda: {"objective": objective(values, np.array([j for j, _ in picked]))}

    return run


CONTESTANTS = {"curate": ours, "apricot lazy": apricot, "submodlib lazy": submodlib}
