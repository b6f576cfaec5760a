"""Which rows each training step sees: batches of a fixed number of tokens, planned before the training starts."""

import itertools
from collections.abc import Iterator

import numpy as np

from curate.errors import InputError
from curate.training.config import TrainConfig


def plan_batches(lengths: np.ndarray, config: TrainConfig, rng: np.random.Generator) -> list[np.ndarray]:
    """The rows of every step, as positions int64; deterministic given the state of `rng`.

    lengths int64 [n], tokens per row. Rows are drawn epoch after epoch, each shuffled anew, until the length of the
    run (epochs, steps or tokens) is reached; the row that reaches it is included. Batch b is closed as soon as the
    tokens drawn since the start reach (b + 1) * batch_tokens. As the account is cumulative, its drift stays within one
    row however long the run. What is left over at the end is a batch if it is half a batch or more, and else joins the
    last one. So T tokens make round(T / batch_tokens) steps (one at least) whatever the rows, as long as none is
    longer than half a batch. A row longer than a batch is not cut: it closes the batch it falls into, and the batches
    after it are short until the account is even again.

    Raises InputError when there are no rows or a row has no tokens.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    if len(lengths) == 0:
        raise InputError("there are no rows to train on")
    if lengths.min() < 1:
        raise InputError(f"row {int(lengths.argmin())} has no tokens to train on")
    rows = _shuffled_forever(len(lengths), rng)
    end, steps = config.tokens, config.steps
    if config.epochs is not None:
        drawn = list(itertools.islice(rows, max(1, round(config.epochs * len(lengths)))))
        rows, end = iter(drawn), int(lengths[drawn].sum())
    if steps is None and end is not None:
        steps = max(1, round(end / config.batch_tokens))
    batches: list[np.ndarray] = []
    batch: list[int] = []
    total = 0
    for row in rows:
        batch.append(row)
        total += int(lengths[row])
        last = len(batches) + 1 == steps
        full = total >= (len(batches) + 1) * config.batch_tokens
        ended = total >= end if end is not None else full and last
        if ended or (full and not last):
            batches.append(np.array(batch, dtype=np.int64))
            batch = []
        if ended:
            break
    return batches


def _shuffled_forever(n: int, rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from rng.permutation(n).tolist()


def micro_batches(
    lengths: np.ndarray, batches: list[np.ndarray], accumulation: int | None, processes: int, padding_limit: float
) -> list[list[np.ndarray]]:
    """Every batch cut into accumulation * processes parts of rows of like length; the same number for all batches.

    Without `accumulation` it is the fewest of 1, 2, 4, 8 and 16 that keeps padding at or below `padding_limit`, a
    share of the real tokens. Cutting a batch up changes its gradient by rounding only.
    """
    for count in [accumulation] if accumulation is not None else [1, 2, 4, 8, 16]:
        parts = [split_batch(lengths, batch, count * processes) for batch in batches]
        real = sum(int(lengths[batch].sum()) for batch in batches)
        padded = sum(len(rows) * int(lengths[rows].max()) for batch in parts for rows in batch if len(rows))
        if padded - real <= padding_limit * real:
            break
    return parts


def split_batch(lengths: np.ndarray, batch: np.ndarray, parts: int) -> list[np.ndarray]:
    """Cut a batch into `parts` micro-batches of like lengths and about as many tokens each; some may be empty.

    Rows are sorted by length, longest first, so that little is padding. A row goes to the part into which the middle
    of its tokens falls.
    """
    ordered = batch[np.argsort(-lengths[batch], kind="stable")]
    tokens = lengths[ordered]
    middle = np.cumsum(tokens) - tokens / 2
    part = (middle / tokens.sum() * parts).astype(np.int64)
    return [ordered[part == i] for i in range(parts)]
