"""Facility location on vectors, kernel included

Cosine similarities of Gaussian vectors around a thousand centres, greedy for k picks.
"""

import numpy as np
from speed import CannotRun

REACH = "5 times as fast as the better peer, the same objective to 1e-6, below 2 GB"
SIZES = {"n=20,000 d=256 k=2,000": {"n": 20_000, "d": 256, "k": 2_000}}


def data(n: int, d: int, seed: int = 0) -> np.ndarray:
    """float32 [n, d], unit vectors."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((1000, d), dtype=np.float32)
    found = centres[rng.integers(1000, size=n)] + rng.standard_normal((n, d), dtype=np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def objective(values: np.ndarray, picked: np.ndarray) -> float:
    """sum_i max_j s_ij in float64."""
    best = np.zeros(len(values))
    for start in range(0, len(picked), 500):
        best = np.maximum(
            best, (values.astype(np.float64) @ values[picked[start : start + 500]].T.astype(np.float64)).max(axis=1)
        )
    return float(best.sum())


def ours(n: int, d: int, k: int):  # type: ignore[no-untyped-def]
    from curate.budget import Budget
    from curate.selectors.facility_location import facility_location
    from curate.selectors.kernels import Vectors

    values = data(n, d)
    limit = Budget.parse(k).limit(np.ones(n))

    def run() -> dict[str, float]:
        return {"objective": objective(values, facility_location(Vectors(values), limit).index)}

    return run


def apricot(n: int, d: int, k: int):  # type: ignore[no-untyped-def]
    try:
        from apricot import FacilityLocationSelection
    except ImportError as error:
        raise CannotRun(f"not installed: {error}") from None
    values = data(n, d)

    def run() -> dict[str, float]:
        found = FacilityLocationSelection(k, metric="precomputed", optimizer="lazy").fit(np.maximum(values @ values.T, 0))
        return {"objective": objective(values, np.asarray(found.ranking))}

    return run


def submodlib(n: int, d: int, k: int):  # type: ignore[no-untyped-def]
    try:
        from submodlib import FacilityLocationFunction
    except ImportError as error:
        raise CannotRun(f"not installed: {error}") from None
    values = data(n, d)

    def run() -> dict[str, float]:
        kernel = np.ascontiguousarray(np.maximum(values @ values.T, 0))
        function = FacilityLocationFunction(n=n, mode="dense", sijs=kernel, separate_rep=False)
        picked = function.maximize(budget=k, optimizer="LazyGreedy", show_progress=False)
        return {"objective": objective(values, np.array([j for j, _ in picked]))}

    return run


CONTESTANTS = {"curate": ours, "apricot lazy": apricot, "submodlib lazy": submodlib}
