"""How well an example serves a row, pair by pair: what DELIFT chooses by and NN-CIFT learns to predict.

To add one, write a class with the two functions of `Influence` and name it in `INFLUENCES`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from curate.lm.views import AFTER_EXAMPLE
from curate.method import Data
from curate.neighbours import unit_vectors
from curate.requests import Embed, Gradients, Observe, Pairs, Request, Rows, Subset
from curate.selectors.influence import cosines
from curate.signals import RowScore
from curate.training.config import mean_rates
from scorers.less import LESS


class Influence(Protocol):
    """True values of pairs. `pairs` names them: positions of rows and of examples in two sets."""

    def requests(self, data: Data, pairs: Pairs) -> list[Request]:
        """What the values follow from."""
        ...

    def values(self, data: Data, seen: Mapping[Request, Any], pairs: Pairs) -> RowScore:
        """A number for each pair, null with a reason where there is none; higher serves better."""
        ...


@dataclass(frozen=True)
class InContext:
    """How much closer the model comes to a row's replies behind an example: d(row) - d(row behind example), in [-1, 1].

    d is the root mean square of 1 - p over the replies' tokens, p the model's probability of each. Source: arXiv 2411.04425.
    """

    def _without(self, data: Data, pairs: Pairs) -> tuple[Observe, np.ndarray]:
        """The request for d of the rows alone, and where in its answer each pair's row is."""
        rows, where = _used(pairs.rows, pairs.index[:, 0])
        return Observe(data.model, rows, "distance"), where

    def requests(self, data: Data, pairs: Pairs) -> list[Request]:
        """A pass over the rows, and one over the rows behind their examples."""
        return [self._without(data, pairs)[0], Observe(data.model, pairs, "distance", AFTER_EXAMPLE)]

    def values(self, data: Data, seen: Mapping[Request, Any], pairs: Pairs) -> RowScore:
        request, where = self._without(data, pairs)
        before, after = seen[request], seen[Observe(data.model, pairs, "distance", AFTER_EXAMPLE)]
        alone = RowScore(before.values[where], before.reasons[where])
        return RowScore.of(alone.values - after.values, alone, after)


@dataclass(frozen=True)
class Likeness:
    """The cosine of the embeddings of row and example, in [-1, 1]."""

    def requests(self, data: Data, pairs: Pairs) -> list[Request]:
        """A vector of each row and example."""
        return [Embed(data.embedder, rows) for rows in dict.fromkeys((pairs.rows, pairs.examples))]

    def values(self, data: Data, seen: Mapping[Request, Any], pairs: Pairs) -> RowScore:
        vectors, reasons = [], []
        for rows, where in ((pairs.rows, pairs.index[:, 0]), (pairs.examples, pairs.index[:, 1])):
            found = seen[Embed(data.embedder, rows)]
            vectors.append((unit_vectors(found), where))
            reasons.append(found.reasons[where])
        (rows_of, i), (examples_of, j) = vectors
        values = np.empty(pairs.size)
        for start in range(0, pairs.size, BLOCK):
            part = slice(start, start + BLOCK)
            values[part] = np.einsum("pd,pd->p", rows_of[i[part]], examples_of[j[part]], dtype=np.float64)
        nulls = np.where(reasons[0] == None, reasons[1], reasons[0])  # noqa: E711 (elementwise)
        nulls[np.isnan(values) & (nulls == None)] = "its vector is 0 everywhere"  # noqa: E711
        return RowScore(np.where(nulls == None, values, np.nan), nulls)  # noqa: E711


@dataclass(frozen=True)
class Gradient:
    """How well the step that an example asks for points the way of a target row's gradient: LESS's cosine, in [-1, 1].

    Averaged over the checkpoints of LESS's training by their learning rates. Source: arXiv 2402.04333.
    """

    less: LESS = LESS()

    def _parts(self, data: Data, pairs: Pairs) -> tuple[list[tuple[Gradients, Gradients]], list[np.ndarray]]:
        """(for each checkpoint the gradients of the examples and of the rows that are used, where each pair's two are)."""
        (rows, i), (examples, j) = _used(pairs.rows, pairs.index[:, 0]), _used(pairs.examples, pairs.index[:, 1])
        found = self.less.gradients(data)
        return [(replace(pool, rows=examples), replace(aim, rows=rows)) for pool, aim in found], [i, j]

    def requests(self, data: Data, pairs: Pairs) -> list[Request]:
        """LESS's training, and at each of its checkpoints gradients of the rows and examples that are used."""
        return [self.less.fit(data), *(request for pair in self._parts(data, pairs)[0] for request in pair)]

    def values(self, data: Data, seen: Mapping[Request, Any], pairs: Pairs) -> RowScore:
        fit, (parts, (i, j)) = self.less.fit(data), self._parts(data, pairs)
        rates = mean_rates(fit.recipe, int(seen[fit].account["steps"]))
        total, reasons = np.zeros(pairs.size), np.full(pairs.size, None, dtype=object)
        for rate, (pool, aim) in zip(rates, parts, strict=True):
            total += rate / sum(rates) * cosines(seen[aim].values, seen[pool].values)[i, j]
            for side, where in ((seen[aim], i), (seen[pool], j)):
                reasons = np.where(reasons == None, side.reasons[where], reasons)  # noqa: E711 (elementwise)
        reasons[np.isnan(total) & (reasons == None)] = "the gradient is zero"  # noqa: E711
        return RowScore(np.where(reasons == None, total, np.nan), reasons)  # noqa: E711


BLOCK = 2**16  # pairs whose vectors are held at once
INFLUENCES: dict[str, Influence] = {"delift": InContext(), "delift-se": Likeness(), "less": Gradient()}


def _used(rows: Rows | Subset, index: np.ndarray) -> tuple[Rows | Subset, np.ndarray]:
    """The rows that are used of a set (all of it where all are), and where each of `index` is among them."""
    used, where = np.unique(index, return_inverse=True)
    if len(used) == rows.size or isinstance(rows, Subset):
        return rows, index
    return Subset(rows, used), where.reshape(-1)
