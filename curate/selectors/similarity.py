"""How alike two vectors are: the kernels that selectors build on vectors."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

SimilarityName = Literal["cosine", "shifted", "sphere", "rbf"]
SMALLEST_NORM = 1e-8  # a shorter vector has no direction


@dataclass(frozen=True)
class Similarity:
    """A similarity of vectors, at most 1, and 1 of a vector with itself.

    cosine   cos(x, y).
    shifted  (1 + cos) / 2.
    sphere   exp(gamma (cos - 1) / 2), which is exp(-gamma |x - y|^2 / 4) of unit vectors (arXiv 2402.02318).
    rbf      exp(-gamma |x - y|^2) of the vectors as they are.

    Raises ValueError for an unknown name, or a gamma that is not above 0.
    """

    name: SimilarityName = "cosine"
    gamma: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in get_args(SimilarityName):
            raise ValueError(f"similarity {self.name!r} is not one of {', '.join(get_args(SimilarityName))}")
        if not 0 < self.gamma < float("inf"):
            raise ValueError(f"gamma must be above 0, not {self.gamma}")

    def usable(self, values: NDArray) -> NDArray[np.bool_]:
        """bool [n]: which rows of values [n, d] are finite and, where only the direction counts, have one."""
        finite = np.isfinite(values).all(axis=1)
        if self.name == "rbf":
            return finite
        return finite & (np.linalg.norm(np.where(finite[:, None], values, 0), axis=1) >= SMALLEST_NORM)

    def features(self, values: NDArray) -> NDArray[np.float64]:
        """What `between` compares, float64 [n, d]: unit vectors, or for `rbf` the values as they are."""
        whole = np.ascontiguousarray(values, dtype=np.float64)
        return whole if self.name == "rbf" else whole / np.linalg.norm(whole, axis=1, keepdims=True)

    def between(self, some: NDArray, all_: NDArray) -> NDArray[np.float64]:
        """float64 [p, n], or [n] for a single vector: the similarity of features [p, d] or [d] to features [n, d]."""
        product = all_ @ some if some.ndim == 1 else some @ all_.T
        if self.name == "rbf":
            lengths = (some**2).sum(axis=-1, keepdims=some.ndim > 1) + (all_**2).sum(axis=1)
            return np.exp(-self.gamma * np.maximum(lengths - 2 * product, 0))
        if self.name == "shifted":
            return (1 + product) / 2
        return np.exp(self.gamma * (product - 1) / 2) if self.name == "sphere" else product


def spread_gamma(values: NDArray) -> float:
    """A gamma for `rbf` that suits the scale of values [n, d]: 1 / (d x their variance), as scikit-learn's "scale"; 1 if 0."""
    variance = float(np.var(values, dtype=np.float64)) if values.size else 0.0
    return 1 / (values.shape[1] * variance) if variance > 0 else 1.0
