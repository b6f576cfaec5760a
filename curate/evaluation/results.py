"""What a model scores on a task: a value per row, their means by source, and files of both."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curate.errors import CurateError
from curate.wording import counted

ITEMS = {
    "task": pl.String, "row_id": pl.String, "source": pl.String, "value": pl.Float64, "weight": pl.Float64,
    "prediction": pl.String,
}  # fmt: skip


@dataclass(frozen=True)
class EvalResult:
    """A model's values on a task, one per row, in the order of the encodings.

    values       float64 [n]: in the unit of the metric (NaN where a reply has no token).
    weights      float64 [n]: how much a row counts in the mean of its source: reply tokens for a loss, else 1.
    sources      name or None per row.
    predictions  what the model said to each row, None where it said nothing.
    seconds      wall time; tokens: those read, and written where replies are generated.
    """

    task: str
    metric: str
    row_ids: tuple[str, ...]
    sources: tuple[str | None, ...]
    values: np.ndarray
    weights: np.ndarray
    seconds: float
    tokens: int
    predictions: tuple[str | None, ...] | None = None

    def items(self) -> pl.DataFrame:
        """A frame with the columns of `ITEMS`, a row for each value."""
        said: Sequence[str | None] = self.predictions or [None] * len(self.row_ids)
        columns: list[Any] = [[self.task] * len(self.row_ids), list(self.row_ids), list(self.sources), np.asarray(self.values),
                   np.asarray(self.weights), list(said)]  # fmt: skip
        return pl.DataFrame(
            {name: pl.Series(column, dtype=dtype) for (name, dtype), column in zip(ITEMS.items(), columns, strict=True)}
        )


def check_finite(result: EvalResult, model: str, remedy: str) -> EvalResult:
    """The result as it is. Raises CurateError naming the model where an item's value is not a finite number."""
    broken = int((~np.isfinite(result.values)).sum())
    if broken:
        items = f"{broken:,} of {counted(len(result.values), 'item')}"
        raise CurateError(f"{model}: the {result.metric} of {items} of {result.task} is not a finite number; {remedy}")
    return result


def read_items(path: Path) -> pl.DataFrame:
    """Items as they were written; columns that an older version did not have are null."""
    frame = pl.read_parquet(path)
    missing = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in ITEMS.items() if name not in frame.columns]
    return frame.with_columns(missing).select(list(ITEMS))
