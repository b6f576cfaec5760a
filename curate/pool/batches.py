"""What every reader gives: rows in the order of the file, a few thousand at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from curate.pool.reasons import Unusable

BATCH_ROWS = 4096
BATCH_BYTES = 64 * 1024 * 1024

Record = dict[str, Any]


@dataclass(frozen=True)
class Batch:
    """Rows in the order of the file.

    lines    the line each row stands on, or its number where the file has no lines; from 1
    records  what each row says (of an Arrow row the columns that conversations are made from), or why it says nothing
    raw      what is kept: the rows as JSON text, or as the Arrow table that was read; aligned with `records`
    """

    lines: Sequence[int]
    records: Sequence[Record | Unusable]
    raw: list[bytes] | pa.Table

    def head(self, rows: int) -> "Batch":
        return Batch(self.lines[:rows], self.records[:rows], self.raw[:rows])
