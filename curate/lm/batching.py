"""Batches by tokens: rows of like length together, so that little of a batch is padding."""

import numpy as np

PADDING = 0.03  # of a batch, beyond which the next row begins another
FULL = 0.25  # of the budget, from which on padding counts for that


def batches_by_length(lengths: np.ndarray, batch_tokens: int) -> list[np.ndarray]:
    """Positions in batches of at most `batch_tokens` tokens, padding counted; ascending length, ties by position.

    lengths int64 [n]. A row longer than the budget makes a batch of its own. A batch that holds a quarter of the budget already
    takes no row that would make more than 3% of it padding: lengths differ much only where rows are few, and there smaller
    batches cost less than padding. A function of the lengths alone.
    """
    order = np.argsort(lengths, kind="stable")
    ascending = lengths[order].tolist()
    batches, start, real = [], 0, 0
    for stop, length in enumerate(ascending):
        # Sorted ascending, so the newest row sets the width of the batch.
        size = length * (stop + 1 - start)
        padding = size - real - length
        held = ascending[stop - 1] * (stop - start)
        if stop > start and (size > batch_tokens or (held >= FULL * batch_tokens and padding > PADDING * size)):
            batches.append(order[start:stop])
            start, real = stop, 0
        real += length
    return [*batches, order[start:]] if len(order) else []


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
