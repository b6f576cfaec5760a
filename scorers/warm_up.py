"""The rows that a reference model of tokens is warmed up on: drawn at random, or the best of another method."""

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from curate.errors import InputError
from curate.method import Data
from curate.registry import make_method
from curate.requests import Request, Subset
from curate.selectors.tokens import share_of


def warm_up(data: Data, seen: Mapping[Request, Any], size: int | float, by: str) -> tuple[list[Request], Subset | None]:
    """(what must be seen first, the rows once it is).

    size  a number of rows, or as a float a share of the pool; one row at least, all of them at most.
    by    random, or a method as `make_method` reads it, whose best rows are taken. InputError where it has no best.
    """
    n = data.pool.size
    count = min(n, size if isinstance(size, int) else max(1, share_of(size, n)))
    rng = np.random.default_rng([data.seed, zlib.crc32(f"warm-up/{by}".encode())])
    if by == "random":
        return [], Subset(data.pool, np.sort(rng.choice(n, count, replace=False)))
    method = make_method(by)
    if why := method.unscored():
        raise InputError(f"warmup_by: {by} has no best rows to warm up on ({why}); name a method that scores rows")
    asked = method.requests(data, seen)
    if any(request not in seen for request in asked):
        return asked, None
    value = method.preference(method.signal(data, seen, rng))
    order = np.argsort(-value, kind="stable")
    best = order[~np.isnan(value[order])][:count]
    if not len(best):
        raise InputError(f"warmup_by: {by} has no best rows to warm up on; name a method that scores rows")
    return asked, Subset(data.pool, np.sort(best))
