"""Facility location on embeddings: rows that together represent the pool, a target, or what existing data lacks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from curate.embedding.similarity import check_gamma, comparable, similarity_of
from curate.errors import InputError
from curate.method import Cost, Data, Method
from curate.requests import Embed, Request, Rows
from curate.selectors.coverage import ROWS, Coverage
from curate.selectors.facility_location import Greedy, maximise
from curate.selectors.similarity import SimilarityName
from curate.selectors.staged import MAX_PAIRS, NEIGHBOURS
from curate.selectors.vector_kernel import HELD_BYTES, Vectors
from curate.signals import RowScore, RowVector
from curate.wording import rows_called

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit
    from curate.selectors.picks import Picks

Objective = Literal["fl", "mi", "cg"]


@dataclass(frozen=True)
class Covering:
    """What the choice reads. reasons: object [n], why a row cannot be compared, else None; coverage: of the other rows."""

    reasons: np.ndarray
    coverage: Coverage

    def __len__(self) -> int:
        return len(self.reasons)


class FacilityLocation(Method):
    """Keep the rows that together represent the whole pool: each row has something like it among the picks.

    Score: what the row gains alone, the sum of the pool's similarities to it; a pick's gain is what it adds to those before it.
    With a target the picks serve it as well (mutual information), with existing data they represent what that does not
    (conditional gain). Source: arXiv 2411.04425, whose similarity is another (utility).
    """

    name: ClassVar[str] = "facility-location"
    paper: ClassVar[str] = "2411.04425"
    cost: ClassVar[Cost] = "forward"

    signals: Literal["embedding"] = Field("embedding", description="what rows are compared by")
    objective: Literal["auto", "fl", "mi", "cg"] = Field("auto", description="auto: mi with a target, cg with existing data")
    similarity: SimilarityName = Field("cosine", description="of two embeddings; cosine below 0 counts as 0")
    gamma: float | None = Field(None, gt=0, description="of sphere and rbf; by default what suits the embedder")
    eta: float = Field(1.0, ge=0, description="of mi: weight of the target")
    form: Literal["paper", "code"] = Field("paper", description="of mi; that of the authors' code is used up by the target")
    nu: float = Field(1.0, ge=0, description="of cg: weight of existing data")
    greedy: Greedy = Field("lazy", description="stochastic: the best of a sample at each step")
    memory: float = Field(
        HELD_BYTES / 1e9, gt=0, description="GB that all similarities may take, 4 bytes each; of more rows picks are approximate"
    )
    neighbours: int = Field(NEIGHBOURS, ge=1, description="similar rows kept for each row, about, where picks are approximate")
    max_pairs: float = Field(MAX_PAIRS, gt=0, description="similarities computed; of more only those of rows in near clusters")
    eps: float = Field(0.1, gt=0, lt=1, description="of stochastic: how far from greedy in expectation")

    @model_validator(mode="after")
    def _gamma_has_a_use(self) -> Self:
        check_gamma(self.similarity, self.gamma)
        return self

    def _asked(self, data: Data) -> tuple[Objective, Rows | None]:
        """What is maximised, and which rows it looks at beside the pool."""
        if self.objective == "auto":
            if data.target and data.existing:
                raise InputError(f"{self.name} has both a target and existing data; name one by objective=mi or objective=cg")
            found: Objective = "mi" if data.target else "cg" if data.existing else "fl"
        else:
            found = self.objective
        if found == "mi" and not data.target:
            raise InputError(f"{self.name}: objective=mi needs a target")
        if found == "cg" and not data.existing:
            raise InputError(f"{self.name}: objective=cg needs existing data")
        return found, {"fl": None, "mi": data.target, "cg": data.existing}[found]

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """An embedding of each row of the pool, and of the target or the existing data."""
        beside = self._asked(data)[1]
        return [Embed(data.embedder, rows) for rows in (data.pool, beside) if rows]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Covering:
        """The similarities of rows, computed as they are read; unitless."""
        objective, rows = self._asked(data)
        given: RowVector = seen[Embed(data.embedder, data.pool)]
        similarity = similarity_of(self.similarity, self.gamma, data.embedder, given)
        pool = comparable(given, similarity)
        values = pool.values if not pool.is_null.any() else pool.values[~pool.is_null]
        kernel, near = Vectors(values, similarity=similarity, memory=self.memory * 1e9), None
        if rows and len(values):
            others = comparable(seen[Embed(data.embedder, rows)], similarity)
            if others.is_null.all():
                raise InputError(f"{self.name}: no row of {rows_called(rows.role)} has an embedding: {others.reasons[0]}")
            near = kernel.towards(others.values[~others.is_null]).best_of_columns()
        if objective == "mi":
            return Covering(pool.reasons, Coverage.of_target(kernel, near, eta=self.eta, form=self.form))
        return Covering(pool.reasons, Coverage.beyond(kernel, near, nu=self.nu))

    def score(self, signal: Covering) -> RowScore:
        """What each row gains alone [n]."""
        values = np.full(len(signal), np.nan)
        values[signal.reasons == None] = signal.coverage.alone()  # noqa: E711 (elementwise)
        return RowScore(values, signal.reasons)

    def choose(self, signal: Covering, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """Greedy by marginal gain, for a budget of tokens by gain per token."""
        null = signal.reasons != None  # noqa: E711 (elementwise)
        return maximise(
            signal.coverage, limit, null=null, greedy=self.greedy, eps=self.eps, rng=rng,
            neighbours=self.neighbours, max_pairs=self.max_pairs, bounded=True,
        )  # fmt: skip

    def remarks(self, data: Data, signal: Any) -> list[str]:
        """That scores are estimates."""
        return [f"scores are estimated on {ROWS:,} rows"] if signal.coverage.sampled else []
