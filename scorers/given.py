"""Picks that were made before: so that a selection, or what a chain of them kept, can be judged like a method."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field, PrivateAttr, field_validator

from curate.earlier import UNKNOWN, Earlier, read_earlier
from curate.errors import InputError
from curate.lm.encodings import Encodings, check_same_tokens
from curate.method import Cost, Data, Method
from curate.registry import method_names
from curate.requests import Request
from curate.selectors.picks import Picks, prefix, shortfall
from curate.signals import RowScore
from curate.training.config import TrainConfig

if TYPE_CHECKING:
    import polars as pl
    from transformers import PreTrainedModel

    from curate.budget import Limit

PICKED = "its rows were picked before"
RESERVED = ("full", "full, 1 epoch", "untrained")  # names of arms that are no methods


class Given(Method):
    """Take the rows that a selection made before holds, in its order, with the tokens that it chose.

    Score: none. It is read from a folder that `curate select` wrote; `curate.given` makes one of a `Selection` or of row ids.
    """

    name: ClassVar[str] = "given"
    paper: ClassVar[str] = "control"
    cost: ClassVar[Cost] = "free"

    folder: str | None = Field(None, description="that curate select wrote")
    title: str | None = Field(None, min_length=1, description="what stands for it in tables")
    _picks: Earlier | None = PrivateAttr(None)

    @field_validator("title")
    @classmethod
    def _its_own(cls, title: str | None) -> str | None:
        if title in (*method_names(), *RESERVED):
            raise ValueError(f"{title!r} stands for something else in tables; give another title")
        return title

    @classmethod
    def of(cls, picks: Earlier, title: str) -> "Given":
        """The method for picks at hand."""
        method = cls(title=title)
        method._picks = picks
        return method

    @property
    def picks(self) -> Earlier:
        """What was picked, read when it is first asked for. Raises InputError for a folder at fault."""
        if self._picks is None:
            if self.folder is None:
                raise InputError(f"{self.name} needs the folder of a selection: {self.name}:folder=picked/")
            self._picks = read_earlier(self.folder)
        return self._picks

    def called(self) -> str | None:
        """Its title, where it has one."""
        return self.title

    def inputs(self) -> tuple[str, ...]:
        """The folder of the selection."""
        return () if self.folder is None else (self.folder,)

    def unscored(self) -> str | None:
        """That its rows were picked before."""
        return PICKED

    def spent(self) -> tuple[float, float]:
        """What choosing took when it was done; NaN where that was not taken down."""
        return UNKNOWN if self._picks is None and self.folder is None else self.picks.cost

    def order(self) -> str:
        """That of the selection given."""
        return "in the order of the selection given"

    def check_training(self, recipe: TrainConfig, network: "Callable[[], PreTrainedModel]") -> None:
        """Raises InputError where the picks' token policy does not go with the recipe, or its reference is gone."""
        recipe.inheriting(self.picks.policy)

    def training(self, data: Data, seen: Mapping[Request, Any], recipe: TrainConfig) -> TrainConfig:
        """With the token policy that the rows were selected for, unless the recipe names its own (or none)."""
        return recipe.inheriting(self.picks.policy)

    def check(self, rows: Encodings) -> None:
        """Raises InputError where the pool lacks rows of the selection, or its tokens are of another tokenizer."""
        self.picks.positions(rows.row_ids)
        if self.picks.labels is not None:
            check_same_tokens(rows, self.picks.labels.of(self.picks.row_ids).rows)

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> RowScore:
        """Null for every row: what was picked is known by row id, which `choose` has."""
        return RowScore.of(np.zeros(data.pool.size)).null(np.ones(data.pool.size, bool), PICKED)

    def choose(self, signal: RowScore, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> Picks:
        """The picks in their order, as far as the limit goes. Raises InputError where the pool lacks some of them."""
        earlier = self.picks
        order = earlier.positions(table["row_id"].to_list())
        index = prefix(order, limit)
        tokens = None
        if earlier.labels is not None:
            lengths, known = table["response_tokens"].to_numpy(), earlier.labels.rows
            pairs = zip(index.tolist(), earlier.row_ids, strict=False)
            tokens = [known[row_id][1] if row_id in known else np.ones(lengths[i], np.float32) for i, row_id in pairs]
        return Picks(
            index,
            np.full(len(index), np.nan),
            [None] * len(index),
            [f"number {rank:,} of {len(order):,} picked before" for rank in range(1, len(index) + 1)],
            0,
            shortfall(index, order, limit),
            tokens,
        )
