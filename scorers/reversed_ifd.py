"""Reversed IFD: how much a reply tells of its instruction."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from curate.lm.views import INSTRUCTION, INSTRUCTION_AFTER_RESPONSE
from curate.method import Cost, Data, Method
from curate.requests import Observe, Request
from curate.signals import RowScore
from scorers.ifd import ratio_of, too_high, without

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit
    from curate.selectors.picks import Picks


class ReversedIFD(Method):
    """Keep the rows whose reply tells the model most of its instruction.

    Score: the perplexity of the instruction behind its reply, where the model is asked to guess the one from the other, over that
    of the instruction alone, unitless; lower is better. Above `max_ifd` the reply hinders, as where the two do not belong
    together, and the row is never picked. Source: r-IFD of Selective Reflection-Tuning, arXiv 2402.10110, which uses
    it to accept rewritten replies; to rank rows by it, and the words of the question, are choices made here.
    """

    name: ClassVar[str] = "reversed-ifd"
    paper: ClassVar[str] = "2402.10110"
    cost: ClassVar[Cost] = "views"
    larger_is_better: ClassVar[bool] = False

    ratio: Literal["loss", "ppl"] = Field("ppl", description="of mean losses, or of perplexities")
    max_ifd: float = Field(1.0, gt=0, description="rows above it are not picked")
    min_instruction_tokens: int = Field(
        5, ge=1, description="rows with fewer tokens of instruction are null, for their ratio is noise"
    )

    def _losses(self, data: Data) -> list[Observe]:
        return [Observe(data.model, data.pool, "mean_loss", view) for view in (INSTRUCTION_AFTER_RESPONSE, INSTRUCTION)]

    def _length(self, data: Data) -> Observe:
        return Observe(data.model, data.pool, "response_tokens", INSTRUCTION)  # the tokens that this view scores

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """The mean loss of each instruction behind its reply and alone."""
        return [*self._losses(data), self._length(data)]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> RowScore:
        """The ratio [n]."""
        given, alone = (seen[request] for request in self._losses(data))
        short = seen[self._length(data)].values < self.min_instruction_tokens
        return ratio_of(given, alone, self.ratio, "instruction").null(
            short, f"fewer than {self.min_instruction_tokens} tokens of instruction"
        )

    def choose(self, signal: Any, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """The lowest ratios that are not above the maximum."""
        return without(signal, signal.values > self.max_ifd, limit, largest=False)

    def remarks(self, data: Data, signal: Any) -> list[str]:
        """How many rows are not picked for their ratio."""
        return too_high(signal.values, self.max_ifd, "a reversed IFD", "the reply hinders the instruction")
