"""Shapley values of rows for a target under kernel regression, without training anything."""

import numpy as np
from numpy.typing import NDArray

JITTER = 1e-12


def shapley(
    kernel: NDArray[np.float64],
    losses: NDArray[np.float64],
    towards: NDArray[np.float64],
    *,
    ridge: float,
    permutations: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(float64 [n] the mean of each row's marginal contributions over random orders, float64 [n] its standard error).

    kernel   float64 [n, n], positive semi-definite: inner products of the rows' gradients.
    losses   float64 [n], what a training on the rows wants to take away.
    towards  float64 [n], the mean inner product of each row with the target's rows.

    The worth of a set S is how much the target's loss falls, in the linearised model, when the losses of S are regressed away:
    towards_S . (K_SS + ridge I)^-1 losses_S. With the Cholesky factor of the kernel in an order, the marginal contribution of
    each row in that order is one product, so an order costs one factorisation. Source: FreeShap, arXiv 2406.04606, whose kernel
    regression is on classes. Raises ValueError for a ridge that is not above 0, or fewer than one permutation.
    """
    from scipy.linalg import cholesky, solve_triangular

    if not ridge > 0 or permutations < 1:
        raise ValueError("shapley needs a ridge above 0 and at least one permutation")
    n = len(losses)
    total, squares = np.zeros(n), np.zeros(n)
    for _ in range(permutations):
        order = rng.permutation(n)
        factor = cholesky(kernel[np.ix_(order, order)] + (ridge + JITTER) * np.eye(n), lower=True)
        both = solve_triangular(factor, np.stack([losses[order], towards[order]], axis=1), lower=True)
        marginal = both[:, 0] * both[:, 1]
        total[order] += marginal
        squares[order] += marginal**2
    mean = total / permutations
    spread = np.maximum(squares / permutations - mean**2, 0.0)
    return mean, np.sqrt(spread / max(1, permutations - 1))
