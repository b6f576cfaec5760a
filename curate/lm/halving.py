"""Running a model batch by batch: a batch that does not fit, or on which the model fails, is halved down to the row at fault."""

import gc
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch

from curate.errors import CurateError, InputError

HOPELESS = 8  # rows that fail one by one before any went well: then it is the model, not the rows

Found = TypeVar("Found")


def in_batches(
    batches: Sequence[np.ndarray],
    lengths: np.ndarray,
    run: Callable[[np.ndarray], Found],
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[np.ndarray, Found | str]]:
    """Yield (positions, what `run` made of them) for each batch in turn; for a row at fault (its position, why it failed).

    lengths   int64 [n], tokens per row.
    progress  gets the number of tokens just run.

    Raises CurateError when the model fails on the first rows one and all; an InputError of `run` ends it.
    """
    waiting = list(batches)[::-1]
    fits, done, failed = float("inf"), 0, 0
    while waiting:
        batch = waiting.pop()
        size = len(batch) * int(lengths[batch].max())
        if len(batch) > 1 and size > fits:
            waiting += _halves(batch)
            continue
        try:
            found = run(batch)
        except InputError:
            raise
        except (RuntimeError, MemoryError, IndexError, ValueError) as error:  # whatever a model raises on what it is given
            full = out_of_memory(error)
            reason = (
                f"out of memory on this row alone, {size:,} tokens" if full else f"the model failed on this row: {_line(error)}"
            )
            if full:
                fits = size / 2
        else:
            done += len(batch)
            yield batch, found
            if progress:
                progress(int(lengths[batch].sum()))
            continue
        if full:
            _free()  # here and not in the handler, where the error still holds the batch
        if len(batch) > 1:
            waiting += _halves(batch)
            continue
        failed += 1
        if not done and failed >= min(HOPELESS, len(lengths)):
            raise CurateError(f"the model fails on every row: {reason}")
        yield batch, reason


def _halves(batch: np.ndarray) -> list[np.ndarray]:
    """The two halves, to be taken from the end."""
    middle = len(batch) // 2
    return [batch[middle:], batch[:middle]]


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory, of a device or of the machine, did not suffice."""
    said = str(error).lower()
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "out of memory" in said or "can't allocate memory" in said


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
