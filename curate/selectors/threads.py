"""Work on parts of an array, spread over threads: numpy lets go of the interpreter while it computes."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

Part = TypeVar("Part")
Found = TypeVar("Found")


def spread(work: Callable[[Part], Found], parts: Sequence[Part]) -> list[Found]:
    """The work on each part, in order, by as many threads as OMP_NUM_THREADS or the machine has."""
    if len(parts) < 2 or threads() < 2:
        return [work(part) for part in parts]
    return list(_pool().map(work, parts))


@cache
def threads() -> int:
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) else os.cpu_count() or 1


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads())
