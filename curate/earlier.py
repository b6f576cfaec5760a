"""Picks that were made before: by `curate select`, by a `Selection` at hand, or as a list of row ids."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np
import polars as pl

from curate.errors import InputError
from curate.pool import TokenLabels, read_labels
from curate.preparation import TOKENS_FILE, read_policy
from curate.registry import method_class
from curate.wording import counted

if TYPE_CHECKING:
    from curate.method import Method
    from curate.selection import Selection

PICKS_FILE = "selection.parquet"
UNKNOWN = (math.nan, math.nan)


@dataclass(frozen=True, eq=False)
class Earlier:
    """What was picked, best first. Raises InputError when that is nothing, or a row twice.

    labels  the tokens of the picks that count in training, where tokens were chosen.
    cost    seconds and FLOPs that choosing took; NaN where that is not known.
    policy  settings by which a training on the picks chooses tokens, where they were selected for that.
    """

    row_ids: tuple[str, ...]
    labels: TokenLabels | None = None
    cost: tuple[float, float] = UNKNOWN
    policy: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not self.row_ids:
            raise InputError("the selection given holds no row")
        [(row_id, times)] = Counter(self.row_ids).most_common(1)
        if times > 1:
            raise InputError(f"the selection given holds row {row_id} {times} times")

    def positions(self, row_ids: Iterable[str]) -> np.ndarray:
        """int64 [k]: where the picks stand among these ids, best first. Raises InputError that counts those that do not."""
        where = {row_id: i for i, row_id in enumerate(row_ids)}
        missing = [row_id for row_id in self.row_ids if row_id not in where]
        if missing:
            raise InputError(
                f"{len(missing):,} of the {counted(len(self.row_ids))} of the selection given are not in this pool, or cannot be "
                f"used by its models, the first: {missing[0]}"
            )
        return np.array([where[row_id] for row_id in self.row_ids], dtype=np.int64)


def read_earlier(folder: str | Path) -> Earlier:
    """The picks in a folder that `Selection.write` made. Raises InputError for another folder, and for a damaged one."""
    path = Path(folder) / PICKS_FILE
    if not path.is_file():
        raise InputError(f"{folder} is not a folder that curate select wrote: there is no {PICKS_FILE} in it")
    try:
        frame = pl.read_parquet(path).select(pl.col("row_id").cast(pl.String), "rank").sort("rank")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"the selection in {path} cannot be read: {' '.join(str(error).split())}") from None
    tokens = Path(folder) / TOKENS_FILE
    labels = read_labels(tokens) if tokens.is_file() else None
    return Earlier(tuple(frame["row_id"].to_list()), labels, _cost(folder), read_policy(folder))


def given(picks: Union["Selection", Earlier, str, Path, Iterable[str]], title: str | None = None) -> "Method":
    """The method `given` for picks that were made before, to be compared like any other.

    picks  a `Selection`, a folder that one was written to, row ids, best first, or what was made of these.
    title  what stands for it in tables.

    Raises InputError for a folder that holds no selection, for no row, and for a row twice.
    """
    from curate.selection import Selection

    method: Any = method_class("given")
    if isinstance(picks, str | Path):
        found = method(folder=str(picks), title=title)
        found.picks  # noqa: B018 (a folder at fault is said here)
        return found  # type: ignore[no-any-return]
    if isinstance(picks, Selection):
        made = picks.summary
        cost = (number_or_nan(made.get("select_seconds")), number_or_nan(made.get("select_flops")))
        earlier = Earlier(tuple(picks.frame["row_id"].to_list()), picks.labels, cost, picks.policy)
        return method.of(earlier, title or f"given: {made['method']} {made['budget']}")  # type: ignore[no-any-return]
    earlier = picks if isinstance(picks, Earlier) else Earlier(tuple(picks))
    digest = hashlib.blake2b("\n".join(earlier.row_ids).encode(), digest_size=4).hexdigest()
    return method.of(earlier, title or f"given: {counted(len(earlier.row_ids))} {digest}")  # type: ignore[no-any-return]


def number_or_nan(value: float | None) -> float:
    """NaN for None."""
    return math.nan if value is None else float(value)


def _cost(folder: str | Path) -> tuple[float, float]:
    try:
        made = json.loads((Path(folder) / "manifest.json").read_bytes())["counts"]
        return number_or_nan(made.get("select_seconds")), number_or_nan(made.get("select_flops"))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return UNKNOWN
