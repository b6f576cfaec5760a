"""How far scales go: one method that is far off must not flatten the others."""

from collections.abc import Mapping, Sequence
from math import floor, log10
from typing import Any

import numpy as np

TIMES = 2.5  # how many times the middle arm's interval a scale goes


def reach(arms: Sequence[Mapping[str, Any]]) -> float:
    """How far from random a scale goes to either side: as far as the outermost interval, but at most TIMES the middle one."""
    ends = [max(abs(arm["ci_low"]), abs(arm["ci_high"])) for arm in arms if arm["ci_low"] is not None]
    return min(max(ends), TIMES * float(np.median(ends))) if ends and max(ends) else 1.0


def beyond(arms: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The arms that lie outside such a scale themselves, and not by their intervals alone."""
    return [arm for arm in arms if abs(arm["diff_from_random"]) > reach(arms)]


def round_steps(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten between two numbers above 0; powers alone where that is many, all there is where few."""
    found = [step * 10.0**power for power in range(floor(log10(low)), floor(log10(high)) + 1) for step in (1, 2, 5)]
    there = [value for value in found if low <= value <= high]
    return [value for value in there if log10(value).is_integer()] if len(there) > 8 else there
