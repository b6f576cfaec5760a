"""How alike two vectors are: the kernels that selectors build on vectors."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

SimilarityName = Literal["cosine", "shifted", "sphere", "rbf"]
SMALLEST_NORM = 1e-8  # a shorter vector has no direction
_AT_ONCE = 2**14  # rows


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
        found = np.empty(len(values), dtype=bool)
        for first in range(0, len(values), _AT_ONCE):
            part = values[first : first + _AT_ONCE]
            finite = np.isfinite(part).all(axis=1)
            if self.name != "rbf":
                finite &= np.linalg.norm(np.where(finite[:, None], part, 0), axis=1) >= SMALLEST_NORM
            found[first : first + _AT_ONCE] = finite
        return found

    def features(self, values: NDArray, dtype: Any = np.float64) -> NDArray:
        """What `between` compares, floats [n, d]: unit vectors, or for `rbf` the values as they are."""
        if self.name == "rbf":
            return np.ascontiguousarray(values, dtype=dtype)
        found = np.empty(values.shape, dtype=dtype)
        for first in range(0, len(values), _AT_ONCE):  # no float64 copy of them all
            part = np.asarray(values[first : first + _AT_ONCE], dtype=np.float64)
            found[first : first + _AT_ONCE] = part / np.linalg.norm(part, axis=1, keepdims=True)
        return found

    def between(self, some: NDArray, all_: NDArray, out: NDArray | None = None) -> NDArray:
        """[p, n], or [n] for a single vector: the similarity of features [p, d] or [d] to features [n, d], in their precision.

        out: where it is written, [p, n].
        """
        product = all_ @ some if some.ndim == 1 else np.matmul(some, all_.T, out=out)
        if self.name == "rbf":
            lengths = (some**2).sum(axis=-1, keepdims=some.ndim > 1) + np.einsum("nd,nd->n", all_, all_)
            product *= -2
            product += lengths
            np.maximum(product, 0, out=product)
            product *= -self.gamma
            return np.exp(product, out=product)
        if self.name == "shifted":
            product += 1
            product /= 2
        elif self.name == "sphere":
            product -= 1
            product *= self.gamma / 2
            np.exp(product, out=product)
        return product


def spread_gamma(values: NDArray) -> float:
    """A gamma for `rbf` that suits the scale of values [n, d]: 1 / (d x their variance), as scikit-learn's "scale"; 1 if 0."""
    variance = float(np.var(values, dtype=np.float64)) if values.size else 0.0
    return 1 / (values.shape[1] * variance) if variance > 0 else 1.0
