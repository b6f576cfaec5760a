"""Greedy MAP of a determinantal point process on vectors, kernel included

Gaussian vectors around a thousand centres and the kernel exp((cos - 1) / 2), which has full rank; k picks. `picks` is a checksum
of the picks in their order, so equal numbers are equal picks. The published algorithm keeps up the variance of every row at each
step and is given a dense kernel in float64, which its user has to compute: `kernel` is how many of its seconds that took. DPPy
samples from such processes and has no greedy MAP.
"""

import time
from zlib import crc32

import numpy as np
from speed import CannotRun

REACH = "4 times as fast as the best peer, the same picks; n=200,000 k=5,000 below 10 GB"
SIZES = {
    "n=20,000 d=512 k=1,000": {"n": 20_000, "d": 512, "k": 1_000},
    "n=200,000 d=512 k=5,000": {"n": 200_000, "d": 512, "k": 5_000},
}
GROWTH = ("n", (5_000, 10_000, 20_000, 40_000), {"d": 512, "k": 500})
HELD = 30_000  # rows of which a dense kernel is tried: 7 GB


def data(n: int, d: int, seed: int = 0) -> np.ndarray:
    """float32 [n, d]."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((1000, d), dtype=np.float32)
    return centres[rng.integers(1000, size=n)] + rng.standard_normal((n, d), dtype=np.float32)


def figures(values: np.ndarray, picked: np.ndarray) -> dict[str, float]:
    """The log determinant of the picks' kernel in float64, and which they are."""
    chosen = values[picked].astype(np.float64)
    chosen /= np.linalg.norm(chosen, axis=1, keepdims=True)
    kernel = np.exp((chosen @ chosen.T - 1) / 2)
    return {"log det": float(np.linalg.slogdet(kernel)[1]), "picks": crc32(np.asarray(picked, dtype=np.int64).tobytes())}


def dense(values: np.ndarray) -> np.ndarray:
    """float64 [n, n], without a second array of its size. Ones on the diagonal, so that the first pick is not one of rounding."""
    if len(values) > HELD:
        raise CannotRun(f"a dense kernel of {8e-9 * len(values) ** 2:,.0f} GB")
    units = values.astype(np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    kernel = units @ units.T
    kernel -= 1
    kernel /= 2
    np.exp(kernel, out=kernel)
    np.fill_diagonal(kernel, 1)
    return kernel


def ours(n: int, d: int, k: int):  # type: ignore[no-untyped-def]
    from curate.budget import Budget
    from curate.selectors.dpp import dpp

    values = data(n, d)
    limit = Budget.parse(k).limit(np.ones(n))

    def run() -> dict[str, float]:
        return figures(values, dpp(values, limit).index)

    return run


def published(n: int, d: int, k: int):  # type: ignore[no-untyped-def]
    if n > HELD:
        raise CannotRun(f"a dense kernel of {8e-9 * n**2:,.0f} GB")
    values = data(n, d)

    def run() -> dict[str, float]:
        begun = time.perf_counter()
        kernel = dense(values)
        took = time.perf_counter() - begun
        columns, variance = np.zeros((k, n)), kernel.diagonal().copy()
        picked = [int(np.argmax(variance))]
        while len(picked) < k:
            last, known = picked[-1], len(picked) - 1
            column = (kernel[last] - columns[:known, last] @ columns[:known]) / np.sqrt(variance[last])
            columns[known] = column
            variance -= column**2
            variance[last] = -np.inf
            picked.append(int(np.argmax(variance)))
        return {**figures(values, np.array(picked)), "kernel": round(took, 2)}

    return run


def submodlib(n: int, d: int, k: int):  # type: ignore[no-untyped-def]
    try:
        from submodlib import LogDeterminantFunction
    except ImportError as error:
        raise CannotRun(f"not installed: {error}") from None
    if n > HELD:
        raise CannotRun(f"a dense kernel of {8e-9 * n**2:,.0f} GB")
    values = data(n, d)

    def run() -> dict[str, float]:
        begun = time.perf_counter()
        kernel = dense(values).astype(np.float32)
        took = time.perf_counter() - begun
        function = LogDeterminantFunction(n=n, mode="dense", lambdaVal=0, sijs=kernel)
        found = function.maximize(budget=k, optimizer="LazyGreedy", show_progress=False)
        return {**figures(values, np.array([j for j, _ in found])), "kernel": round(took, 2)}

    return run


CONTESTANTS = {"curate": ours, "fast greedy MAP as published": published, "submodlib lazy": submodlib}
