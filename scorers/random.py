"""Uniform choice: the control that every method is measured against."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from curate.method import Cost, Data, Method
from curate.requests import Request
from curate.signals import RowScore


class Random(Method):
    """Pick rows uniformly at random.

    Score: a uniform number in [0, 1); a larger budget contains the picks of a smaller one. Rule R7 without weights.
    """

    name: ClassVar[str] = "random"
    paper: ClassVar[str] = "control"
    cost: ClassVar[Cost] = "free"
    by_chance: ClassVar[bool] = True

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> RowScore:
        """Uniform numbers [n], unitless."""
        return RowScore.of(rng.random(data.pool.size))


def drawn(data: Data) -> RowScore:
    """What `random` draws for this pool and seed: the rows of a method that chooses tokens are then those of the control."""
    from curate.preparation import generator

    method = Random()
    return method.signal(data, {}, generator(data.seed, method, "signal"))
