"""What a method is: it asks for what it needs, says what the answers mean, and chooses.

To write one, subclass `Method` in a file of its own, give it the settings as typed fields, and register it in the
entry-point group `curate.methods`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from curate.lm.models import ModelSpec
from curate.requests import Embedder, HiddenStates, Request, Rows
from curate.signals import RowScore
from curate.training.config import TrainConfig

if TYPE_CHECKING:
    import polars as pl
    from transformers import PreTrainedModel

    from curate.budget import Limit
    from curate.lm.encodings import Encodings
    from curate.selectors.picks import Picks

Cost = Literal["free", "tokenizer", "forward", "views", "pairs", "generation", "gradients", "training", "influence"]
SETS = "chooses sets of rows"


@dataclass(frozen=True)
class Data:
    """What a method may know of: the rows by handle, the model that scores, the seed of whatever it fits.

    embedder  for methods that compare rows, asked as `Embed(data.embedder, data.pool)`; by default the mean hidden state
              of the model that scores.
    """

    pool: Rows
    model: ModelSpec
    target: Rows | None = None
    existing: Rows | None = None
    recipe: TrainConfig = TrainConfig()  # of the final run, which a reference fit should follow
    seed: int = 0
    embedder: Embedder = None  # type: ignore[assignment]
    target_sources: tuple[str | None, ...] | None = None  # of the target's rows, in the order of their ids
    trained: ModelSpec | None = None  # the model that is to be trained in the end, where it is known
    limit: "Limit | None" = None  # of the picks, for methods that are asked for each budget anew

    def __post_init__(self) -> None:
        if self.embedder is None:
            object.__setattr__(self, "embedder", HiddenStates(self.model))

    @property
    def others(self) -> dict[str, Rows]:
        """The rows beside the pool, by role: target and existing, as far as there are any."""
        found = {"target": self.target, "existing": self.existing}
        return {role: rows for role, rows in found.items() if rows is not None}


class Method(BaseModel):
    """A named recipe from the literature. Fields of a subclass are its settings, at the paper's defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: ClassVar[str]
    paper: ClassVar[str] = ""  # arXiv number or other source
    cost: ClassVar[Cost] = "forward"  # of choosing, by the default settings
    extra: ClassVar[str | None] = None  # what a training on the picks costs more than one that every other selection is given
    larger_is_better: ClassVar[bool] = True
    by_chance: ClassVar[bool] = False  # picks differ by seed even on the same signals
    by_budget: ClassVar[bool] = False  # what it asks for depends on the budget, `data.limit`

    def readers(self) -> tuple[ModelSpec, ...]:
        """Models of the method's own that are to read the pool: rows that one of them cannot use are left out beforehand."""
        return ()

    def called(self) -> str | None:
        """What stands for it in tables, where that is not its name and settings."""
        return None

    def unscored(self) -> str | None:
        """Why no row has a score by itself, known before anything is computed; None for a method that scores rows."""
        return None

    def scored_by(self) -> str | None:
        """What a row's score is, where that is not what the method itself makes of it; None for a score of its own."""
        return None

    def rewrites(self) -> bool:
        """Whether its picks come with replies of their own (`Picks.rewritten`), which only `select` writes."""
        return False

    def order(self) -> str:
        """In which order its picks are, for people."""
        return "in the order in which they were drawn" if self.by_chance else "best first"

    def inputs(self) -> tuple[str, ...]:
        """Files and folders of the user's that the method reads."""
        return ()

    def check(self, rows: "Encodings") -> None:
        """Raise InputError where it cannot choose from this pool, as the model to be trained has it. Called before any work."""

    def check_training(self, recipe: TrainConfig, network: "Callable[[], PreTrainedModel]") -> None:
        """Raise InputError where trainings on its picks cannot follow this recipe. Called before any work.

        network builds the model that is trained, without weights.
        """

    def spent(self) -> tuple[float, float]:
        """Seconds and FLOPs of choosing that lie before this run and are no request's; NaN where they are not known."""
        return 0.0, 0.0

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """What the method needs next, given what it has seen. Called in rounds until nothing new is asked for."""
        return []

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Any:
        """What the method has for each row of the pool, rows sorted by row id: a RowScore or another `Signal`. Pure."""
        raise NotImplementedError

    def score(self, signal: Any) -> RowScore:
        """The signal as a number per row. A method that chooses sets may have none for a row by itself: null, and why."""
        return signal if isinstance(signal, RowScore) else RowScore.none(signal, self.unscored() or f"{self.name} {SETS}")

    def preference(self, signal: Any) -> np.ndarray:
        """float64 [n]: the score as the method's choice reads it, higher is kept first; NaN where null."""
        values = self.score(signal).values
        return values if self.larger_is_better else -values

    def remarks(self, data: Data, signal: Any) -> list[str]:
        """What a user should know of this signal, in sentences: that it is approximate, how good a fit was, what it cost."""
        return []

    def training(self, data: Data, seen: Mapping[Request, Any], recipe: TrainConfig) -> TrainConfig:
        """The recipe of trainings on the picks, made of the one that every selection is trained by. Pure.

        For methods that choose while the model learns; the others leave it as it is. Length and seed must stay.
        """
        return recipe

    def choose(self, signal: Any, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """Picks within the limit; by default the best scores, ties to the smaller row id. Pure.

        `table` has row_id, source, tokens, response_tokens, in the order of the signal, and nothing else.
        """
        from curate.selectors.top_k import top_k

        return top_k(self.score(signal).values, limit, largest=self.larger_is_better)
