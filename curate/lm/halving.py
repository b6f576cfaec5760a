"""Running a model batch by batch: a batch that does not fit, or on which the model fails, is halved down to the row at fault."""

import gc
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch

from curate.errors import CurateError, InputError

HOPELESS = 8  # rows that fail one after another: then it may be the model, not the rows
# What a GPU says after an illegal access or a failed assertion: from then on every call fails, until the process ends.
LOST = ("cuda error", "hip error")

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

    Raises CurateError when the model fails on the first rows one and all, or on one that it has done before; DeviceLost when no
    row can be done any more. An InputError of `run` ends it.
    """
    waiting = list(batches)[::-1]
    fits, failed = float("inf"), 0  # tokens of a batch; rows in a row
    good: np.ndarray | None = None  # one that went well
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
                refuse_lost(error)
        else:
            good, failed = batch[:1], 0
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
        if good is None and failed >= min(HOPELESS, len(lengths)):
            raise CurateError(f"the model fails on every row: {reason}")
        if good is not None and failed % HOPELESS == 0 and not _goes_well(run, good):
            raise CurateError(f"the model fails on every row from here on, those that it did before among them: {reason}")
        yield batch, reason


def _goes_well(run: Callable[[np.ndarray], Found], batch: np.ndarray) -> bool:
    try:
        run(batch)
    except (RuntimeError, MemoryError, IndexError, ValueError):
        return False
    return True


def _halves(batch: np.ndarray) -> list[np.ndarray]:
    """The two halves, to be taken from the end."""
    middle = len(batch) // 2
    return [batch[middle:], batch[:middle]]


class DeviceLost(CurateError):
    """A device that does nothing any more in this process."""


def refuse_lost(error: Exception) -> None:
    """Raise DeviceLost when an error says that the device will fail on everything from now on."""
    if not out_of_memory(error) and any(sign in str(error).lower() for sign in LOST):
        raise DeviceLost(f"the device fails, and will until the program is started anew: {_line(error)}") from error


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory, of a device or of the machine, did not suffice."""
    said = str(error).lower()
    signs = ("out of memory", "can't allocate memory", "cublas_status_alloc_failed")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(sign in said for sign in signs)


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
