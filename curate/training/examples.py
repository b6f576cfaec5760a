"""Rows as a training sees them: how much each token counts, and padded tensors of micro-batches."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from curate.errors import InputError
from curate.lm.encodings import Encodings
from curate.training.config import TrainConfig
from curate.training.losses import IGNORED
from curate.training.policies import kept_of


def token_weights(encodings: Encodings, weights: Sequence[np.ndarray] | None) -> list[np.ndarray]:
    """float32 [T_i] per row: the weight of each token's loss, 0 outside replies and where nothing predicts it."""
    if weights is not None and len(weights) != len(encodings):
        raise InputError(f"weights: {len(weights)} rows of weights for {len(encodings)} rows")
    result = []
    for i, mask in enumerate(encodings.loss_mask):
        row = mask.astype(np.float32)
        if weights is not None:
            given = np.asarray(weights[i], dtype=np.float32)
            if given.shape != row.shape or not np.isfinite(given).all() or (given < 0).any():
                raise InputError(f"weights: row {encodings.row_ids[i]} needs {len(row)} finite numbers, none negative")
            row *= given
        row[:1] = 0  # no token comes before the first one
        result.append(row)
    return result


def loss_tokens(config: TrainConfig, weights: list[np.ndarray], batches: list[np.ndarray]) -> int:
    """How many tokens count in the loss, over the whole run."""
    counts = np.array([np.count_nonzero(row) for row in weights])
    if config.token_policy == "rho-1":
        return sum(kept_of(config, int(counts[batch].sum())) for batch in batches)
    if config.token_policy == "sstoken":
        counts = np.array([kept_of(config, count) for count in counts.tolist()])
    return int(counts[np.concatenate(batches)].sum())


class MicroBatches(Dataset):
    """The micro-batches of all batches one after the other, as tensors padded on the right.

    parts[b] are the rows of each micro-batch of batch b; every batch has as many. hide(b, row, ids, reply) is what the model
    reads of a row instead of its ids. past: what a token policy holds against each token's loss; with it the micro-batches say
    which rows they are of and which tokens are replies.
    """

    def __init__(
        self,
        encodings: Encodings,
        weights: list[np.ndarray],
        parts: list[list[np.ndarray]],
        padding: int,
        hide: Callable[[int, int, np.ndarray, np.ndarray], np.ndarray] = lambda batch, row, ids, reply: ids,
        past: list[np.ndarray] | None = None,
    ):
        self.encodings, self.weights, self.parts, self.padding, self.hide = encodings, weights, parts, padding, hide
        self.past = past
        self.weight = np.array([row.sum(dtype=np.float64) for row in weights])

    def __len__(self) -> int:
        return len(self.parts) * len(self.parts[0])

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = index // len(self.parts[0])
        batch = self.parts[number]
        rows = batch[index % len(batch)]
        # A micro-batch without rows still goes through the model, as one token that nothing is learned from:
        # with several processes each of them has to take part in every step.
        shape = max(1, len(rows)), max((len(self.weights[row]) for row in rows), default=1)
        ids, labels = np.full(shape, self.padding, np.int64), np.full(shape, IGNORED, np.int64)
        real, weights = np.zeros(shape, np.int64), np.zeros(shape, np.float32)
        real[:, 0] = 1
        for i, row in enumerate(rows):
            given, n = self.encodings.input_ids[row], len(self.weights[row])
            real[i, :n], weights[i, :n] = 1, self.weights[row]
            ids[i, :n] = self.hide(number, int(row), given, self.encodings.loss_mask[row])
            labels[i, :n] = np.where(self.weights[row] > 0, given, IGNORED)
        tensors: dict[str, np.ndarray] = {"input_ids": ids, "attention_mask": real, "labels": labels, "weights": weights}
        if self.past is not None:
            tensors |= {"past": np.zeros(shape, np.float32), "replies": np.zeros(shape, bool), "rows": np.full(shape[0], -1)}
            for i, row in enumerate(rows):
                n = len(self.past[row])
                tensors["past"][i, :n], tensors["replies"][i, :n] = self.past[row], self.encodings.loss_mask[row]
            tensors["rows"][: len(rows)] = rows
        total = float(sum(self.weight[rows].sum() for rows in batch))
        return {**{name: torch.from_numpy(array) for name, array in tensors.items()}, "batch_weight": total}


def only(items: list[dict[str, Any]]) -> dict[str, Any]:
    """The one micro-batch that a loader asks for at a time."""
    return items[0]
