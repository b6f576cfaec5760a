"""The longest replies: a baseline that is tough to beat."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from curate.method import Cost, Data, Method
from curate.requests import Observe, Request
from curate.signals import RowScore


class Longest(Method):
    """Keep the rows with the longest replies.

    Score: tokens that the loss counts, end-of-turn included, over all replies of the conversation; higher is longer.
    Source: arXiv 2402.04833, 2402.06094.
    """

    name: ClassVar[str] = "longest"
    paper: ClassVar[str] = "2402.04833"
    cost: ClassVar[Cost] = "tokenizer"

    def _length(self, data: Data) -> Observe:
        return Observe(data.model, data.pool, "response_tokens")

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """Reply tokens of each row; no model runs."""
        return [self._length(data)]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> RowScore:
        """Reply tokens [n]."""
        return seen[self._length(data)]
