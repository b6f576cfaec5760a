"""Select2Reason: problems that the model calls difficult, with long replies."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from curate.lm.views import INSTRUCTION
from curate.method import Cost, Data, Method
from curate.requests import Judge, Observe, Request
from curate.selectors.window import mean_rank
from curate.signals import RowScore, RowVector

BEFORE = "Is the following problem difficult?\n\nProblem:\n"
BEHIND = "\n\nAnswer with 1 if it is difficult and with 0 if it is not.\nAnswer:"


class Select2Reason(Method):
    """Keep the rows whose problem the model itself calls difficult and whose reply is long.

    Score: `weight` times the rank by the model's probability of calling the problem difficult, and the rest times the rank by
    the reply's tokens, ranks from 0 to 1. Source: arXiv 2505.17266 and its authors' code, of which the weight is not known.
    """

    name: ClassVar[str] = "select2reason"
    paper: ClassVar[str] = "2505.17266"
    cost: ClassVar[Cost] = "forward"

    weight: float = Field(0.5, ge=0, le=1, description="of difficulty; the rest is the weight of length")

    def _judge(self, data: Data) -> Judge:
        return Judge(data.model, data.pool, BEFORE, (BEHIND,), ("1",), ("0",), INSTRUCTION)

    def _length(self, data: Data) -> Observe:
        return Observe(data.model, data.pool, "response_tokens")

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """The model's log-odds of 1 against 0 behind each problem, and reply tokens."""
        return [self._judge(data), self._length(data)]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> RowScore:
        """The mix of ranks [n]; ranks are among the rows with both."""
        odds: RowVector = seen[self._judge(data)]
        length: RowScore = seen[self._length(data)]
        both = RowScore.of(length.values, RowScore(np.where(odds.is_null, np.nan, 0.0), odds.reasons), length)
        there = ~both.is_null
        if not there.any():
            return both
        difficulty, tokens = (mean_rank(v[there]) / max(1, there.sum() - 1) for v in (odds.values[:, 0], length.values))
        mixed = np.full(len(both), np.nan)
        mixed[there] = self.weight * difficulty + (1 - self.weight) * tokens
        return RowScore.of(mixed, both)
