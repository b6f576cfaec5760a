"""What a metric is: a name, a unit, a direction, and how a model is measured on the rows of a task."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from curate.errors import InputError
from curate.lm.encodings import Encodings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from curate.evaluation.tasks import Task

NATS = "nats per reply token"
SHARE = "share"
FRACTION = "0 to 1"


@dataclass(frozen=True)
class Run:
    """A model and the rows of a task that it is measured on.

    positions     of the rows in `task.pool`; `encodings` has them in the same order.
    batch_tokens  tokens in a batch, padding counted. progress: gets the number of tokens just done.
    """

    model: Any
    tokenizer: "PreTrainedTokenizerBase"
    task: "Task"
    positions: Sequence[int]
    encodings: Encodings
    batch_tokens: int = 4096
    progress: Callable[[int], None] | None = None

    @property
    def network(self) -> Any:
        """The model itself where it comes in a wrapper of peft; its layers still carry the adapters."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model


@dataclass(frozen=True)
class Measured:
    """values, weights: float64 [n], a row's value and how much it counts in the mean of its source. predictions: what the
    model said to each, where it said anything. tokens: read and written."""

    values: np.ndarray
    weights: np.ndarray
    tokens: int
    predictions: Sequence[str | None] | None = None


@dataclass(frozen=True)
class Metric(ABC):
    """How a model is measured on a row.

    name             as tasks, tables and `--eval` have it.
    unit             of a row's value, and so of differences between models.
    lower_is_better  whether a smaller value is a better model.
    bounded          whether every value lies between 0 and 1.
    version          what, beside the name, tells one definition from another in the store; None: it comes with curate.
    """

    name: str
    unit: str
    lower_is_better: bool = False
    bounded: bool = False
    version: str | None = None

    settings: ClassVar[tuple[str, ...]] = ()  # the fields of a Task that it reads, beside name and pool
    stored: ClassVar[tuple[str, ...]] = ()  # those of them that always stand in a store's address

    @property
    def wording(self) -> str:
        """The unit and the direction: `nats per reply token, lower is better`."""
        return f"{self.unit}, {'lower' if self.lower_is_better else 'higher'} is better"

    @property
    def title(self) -> str:
        """The name for people."""
        return self.name.replace("_", " ")

    @property
    def reported(self) -> str:
        """The unit and direction of `figure`."""
        return self.wording

    def figure(self, mean: float) -> float:
        """What is reported of the mean over rows. It never falls where the mean rises."""
        return mean

    def columns(self, task: "Task") -> list[Any] | None:
        """What of each row, beside its conversation, its value depends on, as JSON can hold it; None for nothing."""
        return None

    @property
    def made_by(self) -> dict[str, int]:
        """Versions of what it measures with, where a store's address must tell them apart."""
        return {}

    def unusable(self, task: "Task", tokenizer: "PreTrainedTokenizerBase", limit: int) -> dict[str, str]:
        """Row id -> why the row cannot be measured, whatever the model says. limit: tokens that a model reads at most."""
        return {}

    @abstractmethod
    def measure(self, run: Run) -> Measured:
        """The values of the rows. Raises InputError for a row that cannot be measured."""


def refuse(task: "Task", position: int, reason: str) -> InputError:
    """The error that names a row and why it cannot be measured."""
    return InputError(f"task {task.name}: row {task.pool.row_ids[position]} {reason}")
