"""What reading the files and refining the pool brought: the counts, the rows left out and why."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    """A row that is left out because it says almost what another says, which stays. `similarity`: see `pool.near`."""

    row_id: str
    file: str
    line: int
    source: str | None
    kept_row_id: str
    kept_file: str
    kept_line: int
    similarity: float


@dataclass(frozen=True, slots=True)
class Contaminated:
    """A row that is left out because it overlaps a row of an evaluation set. `side`: reply, prompt or both.

    `text` is the longest run of words that the two share on that side.
    """

    row_id: str
    file: str
    line: int
    source: str | None
    evaluation: str
    evaluation_row_id: str
    evaluation_line: int
    side: str
    text: str


@dataclass(frozen=True, slots=True)
class OverCap:
    """A row that is left out because its source has enough rows without it."""

    row_id: str
    file: str
    line: int
    source: str | None


@dataclass(frozen=True)
class ReadReport:
    """The account of a pool, from the files to what is left. Rows in = rows in the pool + those left out, or the
    constructor raises.

    shapes    rows in the pool by the shape they came in
    refined   what `refine` was asked for and found; empty where it was not called
    """

    files: tuple[str, ...]
    rows_in: int
    shapes: dict[str, int]
    rejected: tuple[Rejected, ...] = field(repr=False)
    duplicates: tuple[Duplicate, ...] = field(repr=False)
    near_duplicates: tuple[NearDuplicate, ...] = field(default=(), repr=False)
    contaminated: tuple[Contaminated, ...] = field(default=(), repr=False)
    over_cap: tuple[OverCap, ...] = field(default=(), repr=False)
    refined: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        accounted = sum(self.counts.values()) - self.rows_in
        if accounted != self.rows_in:
            raise AssertionError(f"read {self.rows_in} rows but accounted for {accounted}")

    @property
    def counts(self) -> dict[str, int]:
        """rows_in, then what it is the sum of: rows_pool, rows_rejected, rows_duplicate, rows_near_duplicate, ..."""
        return {
            "rows_in": self.rows_in,
            "rows_pool": sum(self.shapes.values()),
            "rows_rejected": len(self.rejected),
            "rows_duplicate": len(self.duplicates),
            "rows_near_duplicate": len(self.near_duplicates),
            "rows_contaminated": len(self.contaminated),
            "rows_over_cap": len(self.over_cap),
        }

    @property
    def reasons(self) -> dict[str, int]:
        """Rejected rows by reason without its detail, most frequent first."""
        return dict(Counter(row.reason.split(": ", 1)[0] for row in self.rejected).most_common())


def write_left_out(report: ReadReport, folder: str | Path) -> None:
    """The rows left out, a file for each cause, one JSON object a line with the fields of the class above.

    rejected.jsonl and duplicates.jsonl always; near_duplicates.jsonl, contaminated.jsonl and over_cap.jsonl where that
    was asked for. Raises OSError where the folder cannot be written.
    """
    causes: dict[str, tuple[Any, ...]] = {"rejected": report.rejected, "duplicates": report.duplicates}
    for name in ("near_duplicates", "contaminated", "over_cap"):
        if name in report.refined:
            causes[name] = getattr(report, name)
    for name, rows in causes.items():
        with atomic_file(Path(folder) / f"{name}.jsonl") as temporary, temporary.open("wb") as out:
            out.writelines(orjson.dumps(asdict(row), option=orjson.OPT_APPEND_NEWLINE) for row in rows)
