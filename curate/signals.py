"""Numbers and vectors of rows: what passes give and methods make of it. What could not be computed is null with a reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa


class Signal(Protocol):
    """What a method makes of what it saw: something for each row of the pool, or the reason why there is nothing.

    `RowScore`, `RowVector` and `RowTokens` are signals, and so is whatever a method of its own makes for its own choice.
    """

    @property
    def reasons(self) -> np.ndarray:
        """object [n]: why a row has nothing, else None."""
        ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class RowScore:
    """One number per row. values float64 [n], NaN where null; reasons object [n], the reason where null, else None."""

    values: np.ndarray
    reasons: np.ndarray

    def __post_init__(self) -> None:
        if self.values.shape != self.reasons.shape:
            raise ValueError("values and reasons must have the same shape")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def is_null(self) -> np.ndarray:
        """bool [n]."""
        return np.isnan(self.values)

    @classmethod
    def none(cls, signal: Signal, reason: str) -> "RowScore":
        """No number for any row: for its own reason where the signal has nothing for it, else for this one."""
        given = np.array([own or reason for own in signal.reasons], dtype=object)
        return cls(np.full(len(given), np.nan), given)

    @classmethod
    def of(cls, values: np.ndarray, *parents: "RowScore") -> "RowScore":
        """A score computed from others: null where a parent is null (its reason is kept) or the value is not finite."""
        values = np.asarray(values, dtype=np.float64).copy()
        reasons = np.full(len(values), None, dtype=object)
        for parent in parents:
            fresh = parent.is_null & (reasons == None)  # noqa: E711 (elementwise)
            reasons[fresh] = parent.reasons[fresh]
        broken = ~np.isfinite(values) & (reasons == None)  # noqa: E711
        reasons[broken] = "not a finite number"
        values[reasons != None] = np.nan  # noqa: E711
        return cls(values, reasons)

    def null(self, where: np.ndarray, reason: str) -> "RowScore":
        """The same score with null, for this reason, where the mask is True and it was not null already."""
        fresh = where & ~self.is_null
        values, reasons = self.values.copy(), self.reasons.copy()
        values[fresh], reasons[fresh] = np.nan, reason
        return RowScore(values, reasons)


@dataclass(frozen=True)
class RowVector:
    """One vector per row. values float32 [n, d], NaN where null; reasons object [n], the reason where null, else None."""

    values: np.ndarray
    reasons: np.ndarray

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[:1] != self.reasons.shape:
            raise ValueError("values must be [n, d] and reasons [n]")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def is_null(self) -> np.ndarray:
        """bool [n]."""
        return self.reasons != None  # noqa: E711 (elementwise)

    @classmethod
    def of(cls, scores: Sequence[RowScore]) -> "RowVector":
        """The vectors [n, len(scores)] of several scores of the same rows: null where one of them is, for the first's reason."""
        values = np.stack([score.values for score in scores], axis=1).astype(np.float32)
        reasons = RowScore.of(np.zeros(len(values)), *scores).reasons
        values[reasons != None] = np.nan  # noqa: E711
        return cls(values, reasons)


@dataclass(frozen=True)
class RowTokens:
    """Numbers for the scored tokens of each row. values: a float32 [T_i] per row, None where null; reasons as above."""

    values: list[np.ndarray | None]
    reasons: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    @property
    def is_null(self) -> np.ndarray:
        """bool [n]."""
        return self.reasons != None  # noqa: E711 (elementwise)


@dataclass(frozen=True)
class RowValues:
    """Anything else for each row, such as its text. values: None where null; reasons as above."""

    values: list[Any]
    reasons: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    @property
    def is_null(self) -> np.ndarray:
        """bool [n]."""
        return self.reasons != None  # noqa: E711 (elementwise)


def as_vectors(lists: "pa.ChunkedArray", where: np.ndarray, reasons: np.ndarray) -> RowVector:
    """A RowVector from lists of one length, or null, for the rows at these positions. Of width 0 when all are null.

    where    int64 [m], the position of each list; a row without one must have a reason.
    reasons  object [n].
    """
    there = where[~lists.is_null().to_numpy()]
    values = np.concatenate([np.empty(0, np.float32), *(chunk.flatten().to_numpy() for chunk in lists.chunks)])
    vectors = np.full((len(reasons), len(values) // max(1, len(there))), np.nan, dtype=np.float32)
    vectors[there] = values.reshape(len(there), vectors.shape[1])
    return RowVector(vectors, reasons)
