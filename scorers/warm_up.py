"""The rows that a reference model of tokens is warmed up on: drawn at random, or the best of another method."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from curate.errors import InputError
from curate.method import Data
from curate.registry import make_method
from curate.requests import Request, Subset
from curate.selectors.picks import Picks
from curate.selectors.tokens import share_of
from curate.signals import RowScore
from curate.wording import counted


@dataclass(frozen=True)
class Drawn(RowScore):
    """What `random` draws. warm bool [n]: the rows that the reference was trained on."""

    warm: np.ndarray


def marked(rows: Subset | None) -> np.ndarray:
    """bool [n]: which rows of the pool the warm-up is of."""
    assert rows is not None
    warm = np.zeros(rows.rows.size, dtype=bool)
    warm[rows.index] = True
    return warm


def without_warmup(warm: np.ndarray, method: str) -> np.ndarray:
    """bool [n]: the rows that are left for picks. Raises InputError where that is none."""
    if warm.all():
        raise InputError(f"{method}: exclude_warmup leaves no row, for the reference was trained on all of them; lower warmup")
    return ~warm


def seen_before(warm: np.ndarray, picks: Picks) -> tuple[str, ...]:
    """What is to be said of picks that the reference was trained on."""
    number = int(warm[picks.index].sum())
    if not number:
        return ()
    return (
        f"the reference was trained on {number:,} of the {counted(len(picks))} picked, and may know their tokens by heart; "
        "exclude_warmup=true picks others",
    )


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
