"""A small network from the vectors of a row and an example to a number: learned on some pairs, predicting the rest.

It knows nothing of where the numbers come from. Source: arXiv 2502.09969.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

HELD_OUT = 10  # one row, and one example, in so many is held out of the training to say when it should stop
CHECK_STEPS = 100  # between two looks at what is held out, at least
BLOCK_NUMBERS = 2**22  # hidden numbers held at once in predictions


class NetworkConfig(BaseModel):
    """How the network is made and trained; defaults of the paper but for `min_steps` and `patience`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hidden: int = Field(100, ge=1, description="hidden units")
    learning_rate: float = Field(1e-4, gt=0, description="of Adam")
    epochs: int = Field(20, ge=1, description="passes over the pairs")
    batch: int = Field(64, ge=1, description="pairs in a batch")
    min_steps: int = Field(2000, ge=0, description="as many epochs more as make so many steps")
    patience: int = Field(5, ge=1, description="looks at held-out pairs without a gain after which training stops")


@dataclass(frozen=True)
class InfluenceNetwork:
    """low + (high - low) (w2 . relu(W1 [row; example] + b1) + b2), with float32 weights W1 [h, r + e], w2 [h].

    low, high  the lowest and the highest value of the pairs that it was trained on, which it learned scaled to [0, 1].
    steps      of its training; held_out: the mean squared error on held-out pairs, scaled, NaN where none were held out.
    """

    first: np.ndarray
    bias: np.ndarray
    second: np.ndarray
    last: float
    low: float
    high: float
    steps: int = 0
    held_out: float = math.nan

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.first.size + self.bias.size + self.second.size + 1

    @property
    def constant(self) -> bool:
        """Whether all values it was trained on were the same, and all that it predicts is."""
        return self.low == self.high

    def predict(self, rows: np.ndarray, examples: np.ndarray) -> np.ndarray:
        """float32 [n, m] from float [n, r] and [m, e], in blocks: each side goes through its half of the weights once."""
        out = np.empty((len(rows), len(examples)), dtype=np.float32)
        width = rows.shape[1]
        of_rows = rows.astype(np.float32) @ self.first[:, :width].T + self.bias
        of_examples = examples.astype(np.float32) @ self.first[:, width:].T
        block = max(1, BLOCK_NUMBERS // max(1, of_examples.size))
        for start in range(0, len(rows), block):
            part = of_rows[start : start + block, None] + of_examples[None]
            out[start : start + block] = np.maximum(part, 0, out=part) @ self.second
        out += np.float32(self.last)
        return out * np.float32(self.high - self.low) + np.float32(self.low)

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Values by the scale that it learned: 0 and 1 are the lowest and highest of its training; zeros where it has none."""
        return (values - self.low) / (self.high - self.low) if not self.constant else np.zeros_like(values)


def train_network(
    rows: np.ndarray,
    examples: np.ndarray,
    index: np.ndarray,
    values: np.ndarray,
    rng: np.random.Generator,
    config: NetworkConfig | None = None,
) -> InfluenceNetwork:
    """Least squares on pairs of vectors by Adam.

    rows float [n, r], examples float [m, e]; index int64 [p, 2]: positions in both; values float [p]. One row in ten and one
    example in ten are held out where there are ten: pairs with one of the two new say when to stop, and the best weights by
    them are kept. Raises ValueError for values that are not finite, or without any.
    """
    config = config or NetworkConfig()
    if not len(values) or not np.isfinite(values).all():
        raise ValueError("a network is trained on finite values, at least one")
    low, high = float(np.min(values)), float(np.max(values))
    width = rows.shape[1] + examples.shape[1]
    h = config.hidden
    shapes: list[tuple[tuple[int, ...], int]] = [((h, width), width), ((h,), width), ((h,), h), ((1,), h)]  # and the fan-in
    weights = [rng.uniform(-1, 1, shape) / math.sqrt(n) for shape, n in shapes]
    if low == high:
        first, bias, second, _ = (np.zeros_like(w, np.float32) for w in weights)
        return InfluenceNetwork(first, bias, second, 0.0, low, high)
    new = np.zeros((len(index), 2), dtype=bool)
    for side in (0, 1):
        there = np.unique(index[:, side])
        new[:, side] = np.isin(index[:, side], rng.choice(there, len(there) // HELD_OUT, replace=False))
    learned, checked = ~new.any(axis=1), new.sum(axis=1) == 1
    scaled = (np.asarray(values, dtype=np.float64) - low) / (high - low)
    found = _descend(weights, rows, examples, index, scaled, learned, checked, rng, config)
    first, bias, second, last = (np.asarray(w, np.float32) for w in found[0])
    return InfluenceNetwork(first, bias, second, float(last[0]), low, high, *found[1:])


def _descend(weights, rows, examples, index, values, learned, checked, rng, config):  # type: ignore[no-untyped-def]
    """(the best weights, steps made, their error on what is held out)."""
    import torch

    parameters = [torch.tensor(w, dtype=torch.float32, requires_grad=True) for w in weights]
    row_vectors, example_vectors = (torch.from_numpy(np.asarray(v, dtype=np.float32)) for v in (rows, examples))
    pairs, wanted = torch.from_numpy(index), torch.from_numpy(values.astype(np.float32))
    optimizer = torch.optim.Adam(parameters, lr=config.learning_rate)

    def error(which: torch.Tensor) -> torch.Tensor:
        first, bias, second, last = parameters
        inputs = torch.cat([row_vectors[pairs[which, 0]], example_vectors[pairs[which, 1]]], dim=1)
        return torch.mean((torch.relu(inputs @ first.T + bias) @ second + last - wanted[which]) ** 2)

    held, train = np.flatnonzero(checked), np.flatnonzero(learned)

    def held_error() -> float:
        with torch.no_grad():
            parts = torch.from_numpy(held).split(2**14)
            return sum(float(error(part)) * len(part) for part in parts) / len(held)

    best, lowest, waited, steps = [p.detach().clone() for p in parameters], math.inf, 0, 0
    per_epoch = -(-len(train) // config.batch)
    every = max(1, -(-CHECK_STEPS // per_epoch))
    for epoch in range(max(config.epochs, -(-config.min_steps // per_epoch))):
        for batch in _batches(rng.permutation(train), config.batch):
            optimizer.zero_grad()
            error(torch.from_numpy(batch)).backward()
            optimizer.step()
            steps += 1
        if len(held) and (epoch + 1) % every == 0:
            now = held_error()
            if now < lowest:
                best, lowest, waited = [p.detach().clone() for p in parameters], now, 0
            elif (waited := waited + 1) >= config.patience:
                break
    if not math.isfinite(lowest):
        best, lowest = [p.detach() for p in parameters], math.nan
    return [p.numpy() for p in best], steps, lowest


def _batches(order: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(order), size):
        yield order[start : start + size]
