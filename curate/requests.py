"""What a method may ask the engine for. Requests are plain values: equal requests are one piece of work.

A method asks in rounds and looks the answers up by the same values: `seen[Observe(...)]`, `seen[Fit(...)]`.
"""

from dataclasses import dataclass
from pathlib import Path

from curate.lm.models import ModelSpec
from curate.training.config import TrainConfig


@dataclass(frozen=True)
class Rows:
    """A handle on a set of conversations: what it is for, its size, and a hash of its row ids."""

    role: str  # pool, target or existing
    fingerprint: str
    size: int


@dataclass(frozen=True)
class Fit:
    """A model fine-tuned from `model` on `rows` by the trainer. Answer: FittedModel."""

    model: ModelSpec
    rows: Rows
    recipe: TrainConfig


@dataclass(frozen=True)
class Observe:
    """An observable of every row, recorded in one pass of a model over a view. Answer: RowScore or a list of arrays.

    `model` may itself be a Fit, which is then made first. `observable` is a name in `curate.lm.observables`.
    """

    model: ModelSpec | Fit
    rows: Rows
    observable: str
    view: str = "conversation"


Request = Fit | Observe


@dataclass(frozen=True)
class FittedModel:
    """The answer to a Fit: a folder that `AutoModelForCausalLM.from_pretrained` loads, and what making it took."""

    folder: Path
    address: str
    account: dict[str, float]  # tokens, loss_tokens, epochs, steps, seconds, flops of the training
    note: str | None = None  # set when a fit on other rows was kept: says how far they differ
