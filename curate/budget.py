"""How much may be picked: a number of rows, a fraction of the pool, or a number of tokens."""

import re
from dataclasses import dataclass, field
from decimal import Decimal
from numbers import Integral, Real
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from curate.errors import InputError

Unit = Literal["rows", "fraction", "tokens"]

_FORM = re.compile(
    r"(?P<number>\d+(?:_\d+)*(?P<point>\.\d+)?)\s*"
    r"(?:(?P<percent>%)|(?P<times>[kmb])?\s*(?P<unit>rows?|examples?|tokens?)?)",
    re.IGNORECASE,
)
_TIMES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}
_HINT = "use a number of rows (1000), a fraction (10% or 0.1) or a number of tokens (2M tokens)"


@dataclass(frozen=True, eq=False)
class Limit:
    """A budget applied to a pool: picks may cost `capacity` in all. Raises ValueError on costs that make no sense.

    `costs`: float64 [n], what each row costs, finite and at least 0. `capacity`: in the same unit, at least 0.
    `unit`: what the numbers count, for messages only.
    """

    costs: NDArray[np.float64]
    capacity: float
    unit: Literal["rows", "tokens"] = "rows"

    def __post_init__(self) -> None:
        costs = np.asarray(self.costs, dtype=np.float64)
        if costs.ndim != 1 or not np.all(np.isfinite(costs)) or np.any(costs < 0):
            raise ValueError("costs must be one finite number per row, none below 0")
        if not self.capacity >= 0:
            raise ValueError(f"capacity must be at least 0, not {self.capacity}")
        object.__setattr__(self, "costs", costs)
        object.__setattr__(self, "capacity", float(self.capacity))


@dataclass(frozen=True)
class Budget:
    """How much may be picked. `amount` is a count of rows or tokens, or a fraction of the rows (0.1 is a tenth).

    Two budgets are equal when they mean the same: `text` is what the user wrote, and is not compared.
    `str(budget)` is the canonical text, and `Budget.parse(str(budget)) == budget`.
    """

    amount: float
    unit: Unit
    text: str = field(compare=False)

    def __post_init__(self) -> None:
        if self.unit not in get_args(Unit):
            raise InputError(f"The unit of a budget is rows, fraction or tokens, not {self.unit!r}.")
        if not 0 <= self.amount < float("inf"):
            raise InputError(f"The budget {self.text!r} must be a finite number that is not negative; {_HINT}.")
        if self.unit != "fraction" and self.amount != int(self.amount):
            raise InputError(f"The budget {self.text!r} is not a whole number of {self.unit}; {_HINT}.")

    @classmethod
    def parse(cls, text: "str | int | float | Budget", strict: bool = False) -> "Budget":
        """Read `1000`, `1_000`, `1.5k`, `10%`, `0.1`, `500k tokens`, `2M tokens`, or a Python number.

        An int is a number of rows. A float, or text with a point and no suffix, is a fraction, and must be at most 1.
        `k`, `M` and `B` stand for 10^3, 10^6 and 10^9. Raises InputError for anything else, and for what is negative
        or not finite; with `strict` (the command line) also for 0 and for more than 100%.
        """
        budget = text if isinstance(text, Budget) else cls._read(text)
        if strict and budget.amount == 0:
            raise InputError(f"The budget {budget.text!r} would pick nothing; {_HINT}.")
        if strict and budget.unit == "fraction" and budget.amount > 1:
            raise InputError(f"The budget {budget.text!r} is more than the whole pool; {_HINT}.")
        return budget

    @classmethod
    def _read(cls, given: Any) -> "Budget":
        written = str(given)
        if isinstance(given, Integral) and not isinstance(given, bool):
            return cls(_finite(Decimal(int(given)), written), "rows", written)
        if isinstance(given, Real) and not isinstance(given, bool):
            return cls(_at_most_one(float(given), written), "fraction", written)
        match = _FORM.fullmatch(given.strip()) if isinstance(given, str) else None
        if match is None:
            raise InputError(f"The budget {written!r} cannot be read; {_HINT}.")
        number = Decimal(match["number"].replace("_", ""))
        unit, times = (match["unit"] or "").lower(), (match["times"] or "").lower()
        if match["percent"]:
            return cls(_finite(number / 100, written), "fraction", written)
        if match["point"] and not unit and not times:
            return cls(_at_most_one(float(number), written), "fraction", written)
        return cls(_finite(number * _TIMES[times], written), "tokens" if unit.startswith("token") else "rows", written)

    def limit(self, tokens: Any) -> Limit:
        """The budget for a pool whose rows hold `tokens` (int or float [n], tokens per row).

        Rows and fractions: every row costs 1, and a fraction allows floor(fraction x n) rows, computed so that 0.1 of
        30 is 3 whatever the floats say. Tokens: a row costs its tokens.
        """
        held = np.asarray(tokens, dtype=np.float64)
        if self.unit == "tokens":
            return Limit(held, self.amount, "tokens")
        rows = self.amount
        if self.unit == "fraction":
            rows = float(np.floor(self.amount * held.size * (1 + 1e-12)))
        return Limit(np.ones(held.shape), rows, "rows")

    def __str__(self) -> str:
        if self.unit == "fraction":
            return f"{_plain(Decimal(repr(float(self.amount))) * 100)}%"
        if self.unit == "rows":
            return f"{int(self.amount)}"
        for suffix in ("b", "m", "k"):
            if self.amount and self.amount % _TIMES[suffix] == 0:
                return f"{int(self.amount) // _TIMES[suffix]}{suffix.upper() if suffix != 'k' else 'k'} tokens"
        return f"{int(self.amount)} tokens"


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _finite(number: Decimal, written: str) -> float:
    try:
        return float(number)
    except OverflowError as error:
        raise InputError(f"The budget {written!r} is too large; {_HINT}.") from error


def _at_most_one(fraction: float, written: str) -> float:
    if fraction > 1:
        raise InputError(f"The budget {written!r} is neither a fraction (at most 1) nor a whole number; {_HINT}.")
    return fraction
