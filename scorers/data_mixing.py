"""Data-mixing optimisation: shares of sources at which the sum of their losses is least."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from curate.errors import InputError
from curate.method import Cost, Data, Method
from curate.requests import Column, Fit, Observe, Request, Subset
from curate.selectors.quota import quota
from scorers.mixing_law import Law, best_shares, fitted

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit
    from curate.selectors.picks import Picks

TIMES = (0.25, 0.5, 2.0, 3.0)  # the size of one source's part, beside 1, which all sources share


@dataclass(frozen=True)
class Mixture:
    """The law of each source, None where there was one source alone, and the source of each row."""

    laws: dict[str | None, Law]
    sources: list[str | None]

    @property
    def reasons(self) -> np.ndarray:
        """object [n]: None; a row needs nothing but its source."""
        return np.full(len(self.sources), None, dtype=object)

    def __len__(self) -> int:
        return len(self.sources)


class DataMixing(Method):
    """Keep random rows, of every source the share at which the sum of the sources' losses is predicted to be least.

    Small trainings with more and less of each source tell how each loss falls with the source's own tokens and with those of the
    others. Chooses shares: a row has no score. Source: arXiv 2508.11953.
    """

    name: ClassVar[str] = "data-mixing"
    paper: ClassVar[str] = "2508.11953"
    cost: ClassVar[Cost] = "training"
    by_chance: ClassVar[bool] = True

    rows: int = Field(
        500, ge=1, description="of a source in the middle one of the trainings, as far as the smallest source has them"
    )
    held_out: int = Field(100, ge=1, description="rows of a source that its loss is measured on, at most a fifth")
    epochs: float = Field(1.0, gt=0, description="of each training")

    def unscored(self) -> str | None:
        """That it chooses shares of sources."""
        return f"{self.name} chooses shares of sources"

    def _sources(self, data: Data) -> Column:
        return Column(data.pool, "source")

    def _parts(self, data: Data, sources: list[str | None]) -> tuple[dict[str | None, np.ndarray], dict[str | None, np.ndarray]]:
        """(rows held out of each source, its other rows in a random order); nothing where there is one source."""
        rng, held, rest = np.random.default_rng(data.seed), {}, {}
        names = sorted(set(sources), key=lambda name: (name is None, name or ""))
        for source in names if len(names) > 1 else ():
            rows = rng.permutation(np.flatnonzero([s == source for s in sources]))
            if len(rows) < 2:
                raise InputError(f"{self.name}: the source {source!r} has one row; a source needs two at least")
            many = max(1, min(self.held_out, len(rows) // 5))
            held[source], rest[source] = rows[:many], rows[many:]
        return held, rest

    def _trainings(self, data: Data, rest: dict[str | None, np.ndarray]) -> list[dict[str | None, np.ndarray]]:
        """The rows of each source in each training."""
        if not rest:
            return []
        base = max(1, min(self.rows, min(len(rows) for rows in rest.values()) // 3))
        plain = {source: rows[:base] for source, rows in rest.items()}
        return [plain, *({**plain, source: rest[source][: max(1, round(times * base))]} for source in rest for times in TIMES)]

    def _losses(
        self, data: Data, sources: list[str | None]
    ) -> list[tuple[dict[str | None, np.ndarray], dict[str | None, Observe]]]:
        """For each training its rows by source, and what asks for the held-out losses of each source after it."""
        held, rest = self._parts(data, sources)
        recipe = data.recipe.every_token().trained_for(self.epochs, data.seed)
        found = []
        for rows in self._trainings(data, rest):
            fit = Fit(data.model, Subset(data.pool, np.sort(np.concatenate(list(rows.values())))), recipe)
            asked = {source: Observe(fit, Subset(data.pool, np.sort(some)), "mean_loss") for source, some in held.items()}
            found.append((rows, asked))
        return found

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """The sources, then small trainings and the losses of each source after each."""
        asked: list[Request] = [self._sources(data), Observe(data.model, data.pool, "tokens")]
        if asked[0] not in seen:
            return asked
        losses = self._losses(data, seen[asked[0]].values)
        return [*asked, *(request for _, by_source in losses for request in by_source.values())]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Mixture:
        """The law of each source."""
        sources = seen[self._sources(data)].values
        tokens = seen[Observe(data.model, data.pool, "tokens")].values
        trained = self._losses(data, sources)
        laws = {}
        for source in trained[0][0] if trained else ():
            own = np.array([tokens[rows[source]].sum() for rows, _ in trained])
            whole = np.array([sum(tokens[some].sum() for some in rows.values()) for rows, _ in trained])
            losses = np.array([np.nanmean(seen[asked[source]].values) for _, asked in trained])
            laws[source] = fitted(own, whole - own, losses)
        return Mixture(laws, list(sources))

    def remarks(self, data: Data, signal: Mixture) -> list[str]:
        """That one source leaves nothing to choose."""
        return [] if signal.laws else ["there is one source: nothing to mix, rows are random"]

    def order(self) -> str:
        """At random."""
        return "at random, by shares of sources"

    def choose(self, signal: Mixture, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """Random rows, by the shares that are best for a budget of this size; `stratum` is the source."""
        order = rng.permutation(len(signal))
        if not signal.laws:
            return quota(signal.sources, order, limit, rule="proportional", name="source")
        tokens = table["tokens"].to_numpy().astype(np.float64)
        each = {s: float(tokens[[source == s for source in signal.sources]].mean()) for s in signal.laws}
        budget = limit.capacity if limit.unit == "tokens" else limit.capacity * float(tokens.mean())
        shares = best_shares(list(signal.laws.values()), max(1.0, budget))
        weights = {s: share / (each[s] if limit.unit == "rows" else 1.0) for s, share in zip(signal.laws, shares.tolist())}
        found = quota(signal.sources, order, limit, rule=weights, name="source")
        names = [s if s is not None else "without a source" for s in signal.laws]
        said = ", ".join(f"{name} {share:.0%}" for name, share in zip(names, shares.tolist()))
        return replace(found, remarks=(f"shares of the tokens: {said}",))
