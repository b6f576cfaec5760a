"""What a nightly recipe may say, and reading it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from curate.comparison.promotion import Spending
from curate.errors import InputError
from curate.evaluation.grammar import parse_head
from curate.recipe import (
    SAMPLE,
    Beside,
    RefineStage,
    SelectStage,
    TrainStage,
    eval_sets,
    here,
    one_for_a_list,
    parsed,
    read_yaml,
)
from curate.training.config import TrainConfig


class Gate(BaseModel):
    """What decides whether a candidate is promoted.

    evals     held-out conversations by name, as for `curate compare`. Each test uses one of them, or one part of one, in turn.
    parts     into so many parts each file is split, by row id.
    alpha     the chance that 365 tests (spending even), or all ever (slow, basel), promote a candidate that is no better.
    seeds     trainings of the candidate, of what is accepted and of random rows.
    tokens, epochs, train  of these trainings, as for a compare stage.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    evals: dict[str, str] = Field(min_length=1)
    parts: int = Field(1, ge=1)
    alpha: float = Field(0.05, gt=0, lt=0.5)
    spending: Spending = "even"
    seeds: int = Field(8, ge=2)
    tokens: int | None = Field(None, ge=1)
    epochs: float | None = Field(None, gt=0)
    train: TrainConfig = TrainConfig()

    @model_validator(mode="after")
    def _readable(self) -> "Gate":
        for name in self.evals:
            parse_head(name)
        if self.tokens is not None and self.epochs is not None:
            raise ValueError("give tokens or epochs, not both")
        return self


class NightlyRecipe(Beside):
    """A folder that fills, how to choose from it, and the gate.

    pool          files, folders or globs, read anew each night.
    state         the folder of what is accepted and of all nights.
    keep          share of the accepted selection that stays, the first of its order; the rest is chosen anew, given that.
    refit         fits for a pool that has changed: never, or drift (when over a tenth of the rows has).
    max_rejected  share of a night's new rows that may be unusable; above it the night stops.
    train         the training of the model that is handed out with a promoted selection; left out: none.
    """

    pool: tuple[str, ...]
    state: str | None = None
    model: str | None = None
    scorer_model: str | None = None
    embedder: str = "hidden"
    target: str | None = None
    refine: RefineStage | None = None
    select: SelectStage
    keep: float = Field(0.8, ge=0, le=1)
    train: TrainStage | None = None
    gate: Gate
    refit: Literal["never", "drift"] = "drift"
    max_rejected: float = Field(0.1, ge=0, le=1)

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, data: Any) -> Any:
        return one_for_a_list(data, "pool")

    @model_validator(mode="after")
    def _fits(self) -> "NightlyRecipe":
        if self.refine is not None and self.refine.repeat:
            raise ValueError("refine: repeat is not for nights, because what is accepted would be compared with repeated rows")
        return self

    @property
    def inputs(self) -> list[str]:
        """The paths of all that the recipe reads, as they are written."""
        refined = () if self.refine is None else self.refine.decontaminate
        return [path for path in (*self.pool, *refined, *self.gate.evals.values(), self.target) if path is not None]

    @property
    def state_folder(self) -> Path:
        """Raises InputError where the recipe names none."""
        if self.state is None:
            raise InputError("name the folder of what is accepted and of all nights: state: in the recipe, or --state")
        return Path(self.path(self.state))


def read_nightly(path: str | Path) -> NightlyRecipe:
    """Read a nightly recipe with YAML's safe loader. Raises InputError naming the field at fault."""
    return parsed(NightlyRecipe, read_yaml(path, "pool, select and gate"), path)


def replaced(
    recipe: NightlyRecipe,
    *,
    pool: Sequence[str] = (),
    evals: Sequence[str] = (),
    model: str | None = None,
    state: str | Path | None = None,
) -> NightlyRecipe:
    """The recipe with these in place of its own. Paths are relative to the working folder; evals as for `curate compare`.

    Raises InputError as `curate.recipe.overridden` does.
    """
    changed: dict[str, Any] = {}
    if pool:
        changed["pool"] = tuple(here(path) for path in pool)
    if evals:
        changed["gate"] = recipe.gate.model_copy(update={"evals": eval_sets(evals)})
    if model is not None:
        changed["model"] = str(Path(model).absolute()) if Path(model).is_dir() else model
    if state is not None:
        changed["state"] = str(Path(state).absolute())
    found = recipe.model_copy(update=changed)
    left = [path for path in found.inputs if path.startswith(SAMPLE)]
    if pool and left:
        raise InputError(f"the recipe looks at {left[0]} of the embedded sample; name your own with --eval")
    return found
