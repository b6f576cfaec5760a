"""Batches by tokens: rows of like length together, so that little of a batch is padding."""

import numpy as np


def batches_by_length(lengths: np.ndarray, batch_tokens: int) -> list[np.ndarray]:
    """Positions in batches of at most `batch_tokens` tokens, padding counted; ascending length, ties by position.

    lengths int64 [n]. A row longer than the budget makes a batch of its own. A function of the lengths alone.
    """
    order = np.argsort(lengths, kind="stable")
    batches, start = [], 0
    for stop in range(1, len(order) + 1):
        # Sorted ascending, so the newest row sets the width of the batch.
        if stop == len(order) or int(lengths[order[stop]]) * (stop + 1 - start) > batch_tokens:
            batches.append(order[start:stop])
            start = stop
    return batches


def shards_by_tokens(lengths: np.ndarray, shard_tokens: int) -> list[np.ndarray]:
    """Positions in shards of about `shard_tokens` tokens, rows of like length together; a function of the rows alone."""
    order = np.argsort(lengths, kind="stable")
    return cut(order, lengths[order], shard_tokens)


def cut(order: np.ndarray, costs: np.ndarray, shard_tokens: int) -> list[np.ndarray]:
    """`order` in pieces of about `shard_tokens` in all; costs int64, of each of its entries."""
    if not len(order):
        return []
    total = np.cumsum(costs)
    cuts = np.flatnonzero(np.diff((total - 1) // shard_tokens)) + 1
    return np.split(order, cuts)
