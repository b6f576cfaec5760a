"""Prototypes: rows far from the middle of their cluster, or near it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from curate.method import Cost, Data, Method
from curate.requests import Request
from curate.selectors.prototypes import with_floors
from curate.selectors.tokens import share_of
from curate.signals import RowScore
from scorers.aimed import POOLING, Pooling, pooled
from scorers.clustered import clustered

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit
    from curate.selectors.picks import Picks

STARTS = 5  # of k-means


@dataclass(frozen=True)
class Distances:
    """How far each row lies from the middle of its cluster, 1 - cosine, and which cluster that is (None where null)."""

    values: RowScore
    strata: list[str | None]

    @property
    def reasons(self) -> np.ndarray:
        """object [n]: why a row has none, else None."""
        return self.values.reasons

    def __len__(self) -> int:
        return len(self.strata)


class ToMiddles(Method):
    """What methods share that choose by distance to the middle of a row's cluster."""

    cost: ClassVar[Cost] = "forward"

    trim: float = Field(0.0, ge=0, lt=1, description="share of all rows, the farthest, that is left out as outliers")
    pooling: Pooling = Field("embedder", description=POOLING)

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """A vector of each row."""
        return [pooled(data, data.pool, self.pooling)]

    def distances(self, data: Data, seen: Mapping[Request, Any], k: Any, rng: np.random.Generator) -> Distances:
        """1 - cosine [n] of each row with the middle of its cluster."""
        found = clustered(seen[pooled(data, data.pool, self.pooling)], k, rng, starts=STARTS)
        values = found.spread(found.distances)
        farthest = found.rows[np.argsort(-found.distances, kind="stable")][: share_of(self.trim, len(found.rows))]
        outlier = np.zeros(len(values), dtype=bool)
        outlier[farthest] = True
        values = values.null(outlier, f"among the farthest {self.trim:.1%} from the middle of their clusters")
        return Distances(values, [None if values.is_null[i] else stratum for i, stratum in enumerate(found.strata)])

    def score(self, signal: Distances) -> RowScore:
        """The distance [n], from 0 to 2."""
        return signal.values


class Prototypes(ToMiddles):
    """Keep the rows that lie farthest from the middle of their cluster (or nearest to it).

    Score: 1 - cosine with the middle of the row's cluster of embeddings, from 0 to 2. The far rows are hard, which suits a large
    pool, the near ones easy, which suits a small one. Source: arXiv 2206.14486.
    """

    name: ClassVar[str] = "prototypes"
    paper: ClassVar[str] = "2206.14486"

    keep: Literal["far", "near"] = Field("far", description="which rows are kept")
    clusters: Annotated[int, Field(ge=1)] | Literal["auto", "silhouette"] = Field(
        "auto", description="auto: the square root of the rows; silhouette: the number that parts them best"
    )
    balance: float = Field(0.5, ge=0, le=1, description="share of the budget that clusters divide equally")

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Distances:
        """Distances [n] to the middles of clusters."""
        return self.distances(data, seen, self.clusters, rng)

    def preference(self, signal: Distances) -> np.ndarray:
        """The distance [n], or what is left of it where near rows are kept."""
        return signal.values.values if self.keep == "far" else -signal.values.values

    def choose(self, signal: Distances, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """The farthest or the nearest, with a part for every cluster."""
        return with_floors(self.preference(signal), signal.strata, limit, share=self.balance)
