"""How embeddings are compared: the width of a kernel that suits an embedder, and rows that have no direction."""

import numpy as np

from curate.requests import Embedder, HiddenStates
from curate.selectors.similarity import Similarity, SimilarityName, spread_gamma
from curate.signals import RowVector

NO_DIRECTION = "its embedding is zero or not finite"
_WIDTHS = ("sphere", "rbf")


def similarity_of(name: SimilarityName, gamma: float | None, embedder: Embedder | None, vectors: RowVector) -> Similarity:
    """A similarity for vectors of an embedder, None for other vectors such as gradients. gamma None, for `sphere`: 10 for hidden
    states, which lie close together, and 1 for others (arXiv 2402.02318); for `rbf`: by the variance of the vectors
    (`spread_gamma`)."""
    if gamma is None and name == "rbf":
        gamma = spread_gamma(vectors.values[~vectors.is_null])
    elif gamma is None:
        gamma = 10.0 if name == "sphere" and isinstance(embedder, HiddenStates) else 1.0
    return Similarity(name, gamma)


def check_gamma(name: SimilarityName, gamma: float | None) -> None:
    """Raises ValueError for a gamma that a similarity has no use for."""
    if gamma is not None and name not in _WIDTHS:
        raise ValueError(f"gamma is of {' and '.join(_WIDTHS)}; {name} has none")


def comparable(vectors: RowVector, similarity: Similarity) -> RowVector:
    """The vectors, null where they cannot be compared."""
    lost = ~vectors.is_null & ~similarity.usable(vectors.values)
    if not lost.any():
        return vectors
    return RowVector(np.where(lost[:, None], np.nan, vectors.values), np.where(lost, NO_DIRECTION, vectors.reasons))
