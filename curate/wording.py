"""Numbers in sentences."""

import math
from collections.abc import Mapping
from typing import Any


def counted(number: int, noun: str = "row") -> str:
    """`1 row`, `2,000 rows`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


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
