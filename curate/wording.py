"""Numbers in sentences."""

import math
from collections.abc import Mapping, Sequence
from typing import Any


def counted(number: int, noun: str = "row") -> str:
    """`1 row`, `2,000 rows`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def at_lines(places: Sequence[tuple[str, int]], most: int = 10) -> str:
    """`pool.jsonl line 3`, `pool.jsonl lines 3, 8, more.jsonl line 1 and 4 more`, from (file, line)s."""
    lines: dict[str, list[int]] = {}
    for file, line in sorted(places)[:most]:
        lines.setdefault(file, []).append(line)
    said = [f"{file} line{'s' * (len(of) > 1)} {', '.join(map(str, of))}" for file, of in lines.items()]
    return ", ".join(said) + (f" and {len(places) - most:,} more" if len(places) > most else "")


def rows_called(role: str) -> str:
    """What the rows of a role are called in sentences."""
    return {"existing": "existing data"}.get(role, f"the {role}")


def known(number: float) -> float | None:
    """None for NaN, as JSON and tables have it."""
    return None if math.isnan(number) else number


def account_of(counts: Mapping[str, Any]) -> str:
    """Rows in, and what they are the sum of; causes that only an option brings are named where there are any."""
    causes = {"near_duplicate": "near-duplicate", "contaminated": "contaminated", "over_cap": "over the cap"}
    refined = [(key, name) for key, name in causes.items() if counts[f"rows_{key}"]]
    left_out = [("rejected", "rejected"), ("duplicate", "duplicate"), *refined]
    parts = [f"{counts['rows_pool']:,} in the pool", *(f"{counts[f'rows_{key}']:,} {name}" for key, name in left_out)]
    return f"{counted(counts['rows_in'])} in = {' + '.join(parts)}"
