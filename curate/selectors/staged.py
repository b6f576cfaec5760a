"""Greedy coverage of more rows than whose kernel can be held: samples first, then all rows near each other."""

import math
from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from curate.budget import Limit
from curate.selectors.bound import Bound, bound, estimated
from curate.selectors.coverage import Coverage
from curate.selectors.greedy import exact_greedy
from curate.selectors.kernels import Kernel
from curate.selectors.kmeans import kmeans
from curate.selectors.vector_kernel import Part, Vectors

NEIGHBOURS = 256  # entries per row that are kept, about
MAX_PAIRS = 50_000_000_000  # similarities computed in a stage, at most
TIMES = 5  # as many rows and columns in a stage as in the one before
CELL = 500  # rows to a cluster, of those whose near ones are compared


class Staged:
    """Greedy picks of a coverage by vectors, in stages.

    The first stage is exact greedy on a sample of rows and columns whose kernel can be held. Each later one has five times as
    many rows and columns, the last all of them. It begins when the picks before it have covered the rows so well that about
    `neighbours` entries per row lie above that: no other entry can gain anything, so from there on it is exact again
    (greedy on a sparse kernel). What is approximate is thus one pick in `neighbours` x picks / rows, which is chosen by a sample,
    and its gain, which is an estimate. Samples are evenly spaced, and stages do not depend on the budget: a smaller one gives a
    prefix.

    max_pairs  a stage of more pairs of rows than that compares rows of near clusters only; entries between others are missing.
    """

    def __init__(
        self, coverage: Coverage, costs: NDArray[np.float64] | None, *, neighbours: int = NEIGHBOURS, max_pairs: float = MAX_PAIRS
    ) -> None:
        assert isinstance(coverage.kernel, Vectors)
        self.coverage, self.vectors, self.costs = coverage, coverage.kernel, costs
        self.neighbours, self.max_pairs = neighbours, max_pairs
        self.picked: list[int] = []
        self.covered = coverage.before.copy()  # by the picks before the last stage
        self.complete = True  # whether all pairs of the last stage were compared
        self.last: Coverage | None = None  # the last stage, once it has begun
        self.floor: NDArray[np.float64] | None = None  # above which it has all entries

    def __iter__(self) -> Iterator[tuple[int, float]]:
        """All columns with their gains, best first."""
        n, m = self.vectors.shape
        stages = 0
        while self.vectors.dtype().itemsize * _part(n, stages) * _part(m, stages) > max(self.vectors.memory, 8):
            stages += 1
        for stage in range(stages, -1, -1):
            until = math.ceil(max(_part(n, stage - 1), _part(m, stage - 1)) / self.neighbours) if stage else m
            if len(self.picked) >= until:
                continue
            part, columns = self._stage(stage, held=stage == stages)
            left = np.flatnonzero(~np.isin(columns, self.picked))
            steps = exact_greedy(part, None if self.costs is None else self.costs[columns], left)
            if not stage:
                for j, gain in steps:
                    self.picked.append(j)
                    yield j, gain
                return
            some = columns[[j for j, _ in islice(steps, until - len(self.picked))]]
            self.picked += some.tolist()
            for j, gain in zip(some.tolist(), self._take(some).tolist()):
                yield j, gain

    def _take(self, some: NDArray[np.int64]) -> NDArray[np.float64]:
        """float64 [c]: what each of some columns gains after those before it; they are covered by from then on."""
        found = self.coverage.bonus[some].copy()
        cap = self.coverage.cap
        for where, at, part in self.vectors.part(None, some).tiles():
            best = np.concatenate([self.covered[at][None], part if cap is None else np.minimum(part, cap[at])])
            np.maximum.accumulate(best, axis=0, out=best)
            found[where] += np.diff(best, axis=0).sum(axis=1)
            self.covered[at] = best[-1]
        return found

    def _stage(self, stage: int, held: bool) -> tuple[Coverage, NDArray[np.int64]]:
        """What a stage covers, and its columns."""
        n, m = self.vectors.shape
        rows, columns, whole = _spaced(n, _part(n, stage)), _spaced(m, _part(m, stage)), self.coverage
        cap, covered = None if whole.cap is None else whole.cap[rows], self.covered[rows]
        vectors = self.vectors.part(rows, columns) if stage else self.vectors
        kernel: Kernel = vectors
        if not held:
            few = vectors.shape[0] * vectors.shape[1] <= self.max_pairs
            floor = covered if stage else self._by_others(covered)
            kernel = vectors.above(floor, cap, None if few else near(vectors, self.max_pairs))
            if not stage:
                self.floor, self.complete = floor, few
        part = Coverage(kernel, covered=covered, cap=cap, bonus=whole.bonus[columns] * len(rows) / n)
        if not stage:
            self.last = part
        return part, columns

    def _by_others(self, covered: NDArray[np.float64]) -> NDArray[np.float64]:
        """What covers all rows, but picks not by themselves: to know what else is near them makes for a better bound."""
        if not self.vectors.symmetric or not self.picked or self.coverage.cap is not None:
            return covered
        found, picked = covered.copy(), np.array(self.picked, dtype=np.int64)
        among = self.vectors.part(picked, picked)
        values = np.stack([among.column(j)[1] for j in range(len(picked))], axis=1)
        np.fill_diagonal(values, 0)
        found[picked] = np.maximum(values.max(axis=1), self.coverage.before[picked])
        return found

    def note(self) -> str:
        """What is approximate."""
        n, first = self.vectors.shape[0], math.ceil(max(self.vectors.shape) / self.neighbours)
        said = f"the similarities of {n:,} rows are too many to be held: the first {first:,} picks are chosen by samples"
        return said if self.complete else f"{said}, the others by rows of near clusters"

    def bound(self, picked: NDArray[np.int64], limit: Limit, rng: np.random.Generator | None) -> Bound:
        """How good the picks are, with a cost for each column; an estimate where not all pairs were compared."""
        bonus, before, cap = float(self.coverage.bonus[picked].sum()), self.coverage.before, self.coverage.cap
        if self.last is not None and self.floor is not None and self.complete:
            value = float((self.last.covered - before).sum()) + bonus
            return bound(self.coverage, self.last.kernel, self.floor, picked, value, limit)
        best, second = before.copy(), before.copy()
        for where, at, part in self.vectors.part(None, picked).tiles():
            capped = part if cap is None else np.minimum(part, cap[at])
            prices = capped.copy()
            if self.vectors.symmetric:
                mine = np.arange(self.vectors.shape[0])[at] == picked[where][:, None]
                prices[mine] = 0  # picks stand for themselves
            best[at], second[at] = np.maximum(best[at], capped.max(axis=0)), np.maximum(second[at], prices.max(axis=0))
        return estimated(self.coverage, self.vectors, second, float((best - before).sum()) + bonus, limit, rng)


def near(vectors: Vectors, max_pairs: float) -> Iterator[Part]:
    """(columns, rows) of clusters and of those near them, so that there are about `max_pairs` pairs in all."""
    n, m = vectors.shape
    cells = max(1, n // CELL)
    of_rows = kmeans(vectors.represented, cells, np.random.default_rng(0), iterations=10, points=64)
    cells = int(of_rows.max(initial=0)) + 1
    counts = np.maximum(np.bincount(of_rows, minlength=cells), 1)
    by_row = np.argsort(of_rows, kind="stable")
    members = np.split(by_row, np.cumsum(np.bincount(of_rows, minlength=cells))[:-1])
    middles = np.stack([vectors.represented[member].sum(axis=0) for member in members]) / counts[:, None]
    lengths = (middles**2).sum(axis=1)
    of_columns = of_rows
    if not vectors.symmetric:
        of_columns = np.empty(m, dtype=np.int64)
        for first in range(0, m, 2**14):
            some = vectors.selectable[first : first + 2**14]
            of_columns[first : first + 2**14] = (2 * some @ middles.T - lengths).argmax(axis=1)
    for cell in range(cells):
        columns = np.flatnonzero(of_columns == cell)
        if not len(columns):
            continue
        order = np.argsort(lengths - 2 * middles @ middles[cell], kind="stable")
        many = int(np.searchsorted(np.cumsum(counts[order]), max_pairs / m)) + 1
        yield columns, np.sort(np.concatenate([members[c] for c in order[:many].tolist()]))


def _part(n: int, stage: int) -> int:
    return math.ceil(n / TIMES**stage)


def _spaced(n: int, size: int) -> NDArray[np.int64]:
    """So many of n positions, evenly spaced."""
    return np.arange(size, dtype=np.int64) * n // max(1, size)
