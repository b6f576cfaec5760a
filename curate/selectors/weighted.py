"""Random orders in which rows of more weight tend to come first, and the weights of clusters that are learned on the way."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Update = Literal["product", "paper", "memoryless"]


def weighted_order(log_weights: np.ndarray, rng: np.random.Generator) -> NDArray[np.int64]:
    """Positions in the order in which drawing one after the other without replacement, by weight, gives them.

    log_weights  float [n], logarithms of weights that are finite; rows of weight 0, whose logarithm is minus infinity,
                 come last, in a random order among themselves. ValueError otherwise.

    The largest of log w + Gumbel noise come first, which is that order exactly (Efraimidis and Spirakis 2006). Drawing with
    replacement and passing over what was drawn before gives the same.
    """
    log_weights = np.asarray(log_weights, dtype=np.float64)
    if np.isnan(log_weights).any() or (log_weights == np.inf).any():
        raise ValueError("weights must be finite numbers, none below 0")
    noise = rng.gumbel(size=len(log_weights))
    return np.lexsort((-noise, -(log_weights + noise)))


def updated(
    weights: np.ndarray, shortfall: np.ndarray, *, rule: Update = "product", temperature: float = 1.0
) -> NDArray[np.float64]:
    """The weights of clusters after it was seen how far the model falls short on each: float64 [k], 1 in all.

    weights    float [k], at least 0, 1 in all. shortfall: float [k], higher is worse; NaN where nothing was seen.

    product     w * softmax(shortfall / temperature); a cluster that nothing was seen of is multiplied by the median factor.
    paper       w * shortfall / sum of shortfalls, negative ones counting as 0 (arXiv 2409.11378, eq. of w_j, renormalised).
    memoryless  softmax(shortfall / temperature) alone, as its authors' code has it.

    Where no factor is above 0 the weights stay as they are.
    """
    weights = np.asarray(weights, dtype=np.float64)
    shortfall = np.asarray(shortfall, dtype=np.float64)
    there = ~np.isnan(shortfall)
    if not there.any():
        return weights
    factor = np.zeros(len(weights))
    if rule == "paper":
        positive = np.maximum(shortfall[there], 0.0)
        factor[there] = positive / positive.sum() if positive.sum() > 0 else 0.0
    else:
        scaled = shortfall[there] / temperature
        factor[there] = np.exp(scaled - scaled.max())
        factor[there] /= factor[there].sum()
    factor[~there] = np.median(factor[there])
    new = factor if rule == "memoryless" else weights * factor
    return new / new.sum() if new.sum() > 0 else weights
