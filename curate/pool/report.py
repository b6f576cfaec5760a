"""What reading the files brought: the counts, the rows left out and why."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from curate.files import atomic_file


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that cannot be used. `line` counts from 1; `reason` begins with a phrase of `curate.pool.reasons`."""

    file: str
    line: int
    reason: str
    record_text: str | None


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A row whose conversation and tools are those of an earlier row, `kept_file:kept_line`, which stays in the pool.

    `source` and `id` are this row's own (`id` is the user's column as text, or None).
    """

    row_id: str
    file: str
    line: int
    source: str | None
    id: str | None
    kept_file: str
    kept_line: int


@dataclass(frozen=True)
class ReadReport:
    """The account of a reading. rows_in == rows in the pool + rejected + duplicates, or the constructor raises.

    `shapes` counts the rows in the pool by the shape they came in.
    """

    files: tuple[str, ...]
    rows_in: int
    shapes: dict[str, int]
    rejected: tuple[Rejected, ...] = field(repr=False)
    duplicates: tuple[Duplicate, ...] = field(repr=False)

    def __post_init__(self) -> None:
        out = sum(self.shapes.values()) + len(self.rejected) + len(self.duplicates)
        if out != self.rows_in:
            raise AssertionError(f"read {self.rows_in} rows but accounted for {out}")

    @property
    def reasons(self) -> dict[str, int]:
        """Rejected rows by reason without its detail, most frequent first."""
        return dict(Counter(row.reason.split(": ", 1)[0] for row in self.rejected).most_common())


def write_rejected(report: ReadReport, path: str | Path) -> None:
    """One JSON object a line: file, line, reason, record_text. Raises OSError where the path cannot be written."""
    _write_lines((asdict(row) for row in report.rejected), path)


def write_duplicates(report: ReadReport, path: str | Path) -> None:
    """One JSON object a line, the fields of `Duplicate`. Raises OSError where the path cannot be written."""
    _write_lines((asdict(row) for row in report.duplicates), path)


def _write_lines(rows: Iterable[dict[str, object]], path: str | Path) -> None:
    with atomic_file(path) as temporary, temporary.open("wb") as out:
        out.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
