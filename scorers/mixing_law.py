"""How the loss of a source falls with its own tokens and with those of others, and the shares that make all losses small."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

HUBER = 1e-3  # nats, from which on a residual counts linearly
GAMMAS, ALPHAS, BETAS = np.geomspace(1e-3, 10, 9), np.linspace(0.1, 1, 7), np.geomspace(0.01, 1.5, 11)
POLISHED = 3  # points of the grid of these, the best


@dataclass(frozen=True)
class Law:
    """loss = scale (own + gamma others^alpha)^-beta + floor, in nats; what others give is at most their tokens.

    Source: data-mixing optimisation for fine-tuning, arXiv 2508.11953.
    """

    scale: float
    gamma: float
    alpha: float
    beta: float
    floor: float

    def loss(self, own: ArrayLike, others: ArrayLike) -> NDArray[np.float64]:
        """float64, of so many tokens of the source itself and of all others."""
        own, others = np.asarray(own, dtype=np.float64), np.asarray(others, dtype=np.float64)
        moved = np.minimum(self.gamma * np.maximum(others, 1e-9) ** self.alpha, others)
        found: NDArray[np.float64] = self.scale * np.maximum(own + moved, 1.0) ** -self.beta + self.floor
        return found


def fitted(own: NDArray[np.float64], others: NDArray[np.float64], losses: NDArray[np.float64]) -> Law:
    """The law of a source from the losses of several trainings, all five numbers at once.

    own, others, losses  float64 [r], of each training: tokens of the source, tokens of the others, the source's loss after it.

    For given gamma, alpha and beta the other two are a line; the best of a grid are made better by Huber's loss.
    """
    from scipy.optimize import least_squares

    def law(p: NDArray[np.float64]) -> Law:
        return Law(float(np.exp(p[0])), float(np.exp(p[1])), float(p[2]), float(np.exp(p[3])), float(p[4]))

    begun = sorted((_line(own, others, losses, *point) for point in product(GAMMAS, ALPHAS, BETAS)), key=lambda pair: pair[0])
    best, found = np.inf, Law(0.0, 1.0, 1.0, 0.0, float(losses.mean()))
    bounds = [-20, -20, 0, -7, 0], [20, 10, 1, 1, max(float(losses.max()), 1e-9)]
    for _, start in begun[:POLISHED]:
        p = np.clip([np.log(max(start.scale, 1e-8)), np.log(start.gamma), start.alpha, np.log(start.beta), start.floor], *bounds)
        done = least_squares(
            lambda p: law(p).loss(own, others) - losses, p, bounds=bounds, loss="huber", f_scale=HUBER, max_nfev=200
        )
        if done.cost < best - 1e-15:
            best, found = done.cost, law(done.x)
    return found


def _line(
    own: NDArray[np.float64], others: NDArray[np.float64], losses: NDArray[np.float64], gamma: float, alpha: float, beta: float
) -> tuple[float, Law]:
    """(sum of squares, law) with the scale and the floor that fit best, neither below 0."""
    x = Law(1.0, gamma, alpha, beta, 0.0).loss(own, others)
    spread = float(((x - x.mean()) ** 2).sum())
    scale = max(0.0, float(((x - x.mean()) * (losses - losses.mean())).sum()) / spread) if spread > 0 else 0.0
    floor = float(losses.mean()) - scale * float(x.mean())
    if floor < 0:
        scale, floor = max(0.0, float((x * losses).sum() / (x * x).sum())), 0.0
    return float(((scale * x + floor - losses) ** 2).sum()), Law(scale, gamma, alpha, beta, floor)


def best_shares(laws: list[Law], tokens: float) -> NDArray[np.float64]:
    """float64 [k], 1 in all: the shares of so many tokens at which the sum of the sources' losses is least."""
    from scipy.optimize import minimize

    k = len(laws)

    def total(w: NDArray[np.float64]) -> float:
        return float(sum(law.loss(share * tokens, (1 - share) * tokens) for law, share in zip(laws, w)))

    starts = [
        np.full(k, 1 / k),
        *(np.full(k, 0.5 / max(1, k - 1)) + (0.5 - 0.5 / max(1, k - 1)) * np.eye(k)[j] for j in range(k)),
    ]
    best, found = np.inf, starts[0]
    for start in starts[:1] if k == 1 else starts:
        begin = start / start.sum()
        done = minimize(
            total, begin, method="SLSQP", bounds=[(0.0, 1.0)] * k, options={"ftol": 1e-12, "maxiter": 500},
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        )  # fmt: skip
        if done.fun < best - 1e-12 and np.isfinite(done.x).all():
            best, found = done.fun, done.x
    shares = np.clip(found, 0.0, 1.0)
    whole: NDArray[np.float64] = shares / shares.sum()
    return whole
