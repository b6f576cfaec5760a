"""DONOD: what a step on one row alone would do to the output head."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from curate.method import Cost, Data, Method
from curate.requests import Observe, Request
from curate.selectors.topsis import topsis
from curate.signals import RowScore

Direction = Literal["max", "min"]


class DONOD(Method):
    """Keep the rows that would move the output head least, and make it longer rather than shorter.

    Of a small step of gradient descent on the row alone, of the output head's weights W: DON is how much shorter W gets, |W| -
    |W'|, NOD how far it moves, |W - W'|. Both are in closed form from the forward pass, and made one number by TOPSIS: the
    closeness, from 0 to 1, to a row that has the best of both. Source: arXiv 2504.14810.

    Which way DON is wanted is not settled by what could be read of the paper: its reviews read `don=max`, by which replies that
    were swapped are preferred to those that fit, here as by the formula; so `min` is the default.
    """

    name: ClassVar[str] = "donod"
    paper: ClassVar[str] = "2504.14810"
    cost: ClassVar[Cost] = "forward"

    don: Direction = Field("min", description="whether the head is to get shorter (max) or longer (min)")
    nod: Direction = Field("min", description="whether the head is to move little or much")
    clip: float = Field(0.01, ge=0, lt=0.5, description="values beyond this quantile, at either end, count as it")

    def _observables(self, data: Data) -> list[Observe]:
        return [Observe(data.model, data.pool, name) for name in ("don", "nod")]

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """DON and NOD of each row: one pass of the model."""
        return list(self._observables(data))

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> RowScore:
        """The closeness [n]."""
        both = [seen[request] for request in self._observables(data)]
        found = topsis(np.stack([one.values for one in both], axis=1), [self.don == "max", self.nod == "max"], clip=self.clip)
        return RowScore.of(found, *both)
