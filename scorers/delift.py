"""DELIFT: rows that, as in-context examples, help the model with the other rows."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from curate.errors import InputError
from curate.method import Cost, Data, Method
from curate.neighbours import nearest
from curate.pair_scores import KernelForm, PairScore, best_examples, best_rows, example_scores, kernels
from curate.requests import Embed, Pairs, Request, Rows
from curate.signals import RowScore
from scorers.influence import INFLUENCES, Influence

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit
    from curate.selectors.picks import Picks

Stage = Literal["fl", "flmi", "flcg"]
Objective = Literal["auto", "fl", "flmi", "flcg"]
Form = Literal["paper", "code"]
MOST_VECTORS = 10**8  # pairs of vectors that are all compared


@dataclass(frozen=True)
class Utilities:
    """What DELIFT's choice reads.

    pool    [n, n]: how well row j of the pool serves row i as an example.
    other   of the target's rows with examples of the pool, or of the pool's rows with examples of the target or of existing
            data; None without either.
    reasons object [n], why a row of the pool cannot be picked, else None.
    notes   what a user should know of how this came about.
    """

    pool: PairScore
    other: PairScore | None
    stage: Stage
    reasons: np.ndarray
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.reasons)


def stage_of(data: Data, objective: Objective, name: str) -> Stage:
    """The objective for what a run has: with a target `flmi`, with existing data `flcg`, else `fl`. May raise InputError."""
    if objective == "auto":
        if data.target and data.existing:
            raise InputError(f"{name} takes a target or existing data, not both; say which by objective=flmi or objective=flcg")
        return "flmi" if data.target else "flcg" if data.existing else "fl"
    if objective == "flmi" and data.target is None:
        raise InputError(f"{name} with objective=flmi needs a target")
    if objective == "flcg" and data.existing is None:
        raise InputError(f"{name} with objective=flcg needs existing data")
    return objective


def by_proxy(data: Data) -> list[str]:
    """That utilities are another model's than the one to be trained, where they are."""
    if data.trained is None or data.trained == data.model:
        return []
    return [f"an approximation: utilities are those of {data.model.label}, not of {data.trained.label}, which is to be trained"]


def other_block(data: Data, stage: Stage, form: Form) -> tuple[Rows, Rows] | None:
    """(rows, examples) of the pairs that an objective reads beside those of the pool."""
    if stage == "flmi":
        assert data.target is not None
        return (data.target, data.pool) if form == "paper" else (data.pool, data.target)
    return (data.pool, data.existing) if stage == "flcg" and data.existing else None


class Staged(Method):
    """What methods have in common that choose by DELIFT's three objectives, one for each stage of fine-tuning."""

    objective: Objective = Field("auto", description="auto: by whether there is a target or existing data")
    kernel: KernelForm = Field("relu", description="relu: utilities below 0 count 0; minmax: the authors' code, scaled to [0, 1]")
    diag: Literal["keep", "zero"] = Field("keep", description="what a row counts as its own example")
    form: Form = Field("paper", description="of mutual information; code saturates once the target is served")
    eta: float = Field(1.0, ge=0, description="weight of the target")
    nu: float = Field(1.0, ge=0, description="how much existing data counts")


class DELIFT(Staged):
    """Keep the rows that, as in-context examples, help the model most with all the others.

    Utility of j for i: how far the model's distance from i's reply falls when it sees j first, in [-1, 1]; higher is better.
    Rows are picked together, so that each row of the pool has a pick that helps it (facility location); with a target, also the
    target's rows (mutual information); with existing data, only as far as that does not help already (conditional gain).
    Score: a row's mean utility as an example. Source: arXiv 2411.04425.
    """

    name: ClassVar[str] = "delift"
    paper: ClassVar[str] = "2411.04425"
    cost: ClassVar[Cost] = "pairs"

    utility: Literal["icl", "embedding"] = Field("icl", description="embedding: the cosine of embeddings instead, DELIFT(SE)")
    max_pairs: int = Field(40_000, ge=1, description="all pairs are tried up to so many; else each row's nearest examples")
    neighbours: int = Field(8, ge=1, description="examples tried per row where not all are")

    def _influence(self) -> Influence:
        return INFLUENCES["delift" if self.utility == "icl" else "delift-se"]

    def _blocks(self, data: Data) -> list[tuple[Rows, Rows]]:
        other = other_block(data, stage_of(data, self.objective, self.name), self.form)
        return [(data.pool, data.pool), *([other] if other else [])]

    def _all(self, rows: Rows, examples: Rows) -> bool:
        return rows.size * examples.size <= (self.max_pairs if self.utility == "icl" else MOST_VECTORS)

    def _pairs(self, data: Data, seen: Mapping[Request, Any], rows: Rows, examples: Rows) -> Pairs | None:
        """The pairs to try; None while the embeddings that tell are not there."""
        if self._all(rows, examples):
            return Pairs(rows, examples, np.indices((rows.size, examples.size)).reshape(2, -1).T)
        vectors = [Embed(data.embedder, side) for side in (rows, examples)]
        if any(request not in seen for request in vectors):
            return None
        same = rows == examples
        index = nearest(seen[vectors[0]], seen[vectors[1]], self.neighbours, same=same)
        if same and self.diag == "keep":
            own = np.unique(index[:, 0])
            index = np.concatenate([index, np.stack([own, own], axis=1)])
        return Pairs(rows, examples, index[np.lexsort((index[:, 1], index[:, 0]))])

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """The utilities of all pairs; of a pool too large for that embeddings first, then the utilities of near pairs."""
        asked: dict[Request, None] = {}
        for rows, examples in self._blocks(data):
            if self.kernel == "minmax" and not self._all(rows, examples):
                tried = f"{rows.size:,} x {examples.size:,} pairs of {rows.role} after {examples.role}"
                more = "use kernel=relu" + (" or raise max_pairs" if self.utility == "icl" else "")
                raise InputError(f"{self.name}: kernel=minmax has no place for pairs that are not tried, of {tried}; {more}")
            if not self._all(rows, examples):
                asked |= dict.fromkeys(Embed(data.embedder, side) for side in (rows, examples))
            pairs = self._pairs(data, seen, rows, examples)
            if pairs is not None and pairs.size:
                asked |= dict.fromkeys(self._influence().requests(data, pairs))
        return list(asked)

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Utilities:
        """Utilities of pairs, unitless."""
        found, notes = [], []
        reasons = np.full(data.pool.size, None, dtype=object)
        for rows, examples in self._blocks(data):
            pairs = self._pairs(data, seen, rows, examples)
            assert pairs is not None
            answer = self._influence().values(data, seen, pairs) if pairs.size else RowScore.of(np.empty(0))
            score = PairScore.of(pairs.index, answer.values, (rows.size, examples.size))
            found.append(score)
            notes += self._notes(score, pairs, answer)
            if rows == examples:
                reasons = _never(pairs, answer)
                if not self._all(rows, examples):  # a row without a vector is nobody's neighbour, for the vector's reason
                    vectors = seen[Embed(data.embedder, rows)]
                    reasons = np.where(vectors.is_null, vectors.reasons, reasons)
        if self.diag == "zero":
            found[0] = found[0].without_diagonal()
        stage = stage_of(data, self.objective, self.name)
        return Utilities(found[0], found[1] if len(found) > 1 else None, stage, reasons, tuple(notes))

    def _notes(self, score: PairScore, pairs: Pairs, answer: RowScore) -> list[str]:
        rows, what, said = pairs.rows, pairs.role, []
        total = rows.size * pairs.examples.size
        if not score.complete:
            near = f"each row's {self.neighbours} nearest examples; the others count as 0"
            said.append(f"an approximation by {score.tried:,} of the {total:,} pairs of {what}: {near}")
        lost = ~score.rows_with_values()
        if lost.any():
            why = dict(zip(pairs.index[::-1, 0].tolist(), answer.reasons[::-1], strict=True))  # of each row's first pair
            causes = Counter(why.get(i, "no example is near") for i in np.flatnonzero(lost).tolist())
            because = ", ".join(f"{reason} ({count:,})" for reason, count in causes.most_common())
            said.append(f"{lost.sum():,} of the {rows.size:,} rows of {what} have no utility and are not represented: {because}")
        return said

    def remarks(self, data: Data, signal: Any) -> list[str]:
        """That only near pairs were tried or another model tried them, and how many rows have no utility."""
        return [*(by_proxy(data) if self.utility == "icl" else []), *signal.notes]

    def score(self, signal: Any) -> RowScore:
        """The mean utility of each row as an example, over the rows that it was tried on."""
        return example_scores(signal.pool, signal.reasons, "no row has it among its nearest examples")

    def choose(self, signal: Any, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """Greedy picks of the stage's objective."""
        return pick(signal, limit, kernel=self.kernel, form=self.form, eta=self.eta, nu=self.nu)


def pick(signal: Utilities, limit: "Limit", *, kernel: KernelForm, form: Form, eta: float, nu: float) -> "Picks":
    """Greedy picks of the objective of the signal's stage; ties to the smaller row id."""
    from curate.selectors.facility_location import conditional_gain, facility_location, mutual_information

    scores = [signal.pool, *([signal.other] if signal.other else [])]
    scaled = kernels(scores, kernel)
    represented = signal.pool.rows_with_values()
    main, null = scaled[0], signal.reasons != None  # noqa: E711 (elementwise)
    if not represented.all():
        main = main[np.flatnonzero(represented)]
    if signal.other is None:
        return facility_location(main, limit, null=null)
    if signal.stage == "flmi" and form == "paper":
        return mutual_information(main, best_rows(scaled[1]), limit, eta=eta, null=null)
    best = best_examples(scaled[1])[represented]
    if signal.stage == "flmi":
        return mutual_information(main, best, limit, eta=eta, form="code", null=null)
    return conditional_gain(main, best, limit, nu=nu, null=null)


def _never(pairs: Pairs, answer: RowScore) -> np.ndarray:
    """object [m]: why an example that was tried has no value on any row, else None."""
    reasons = np.full(pairs.examples.size, None, dtype=object)
    examples = pairs.index[:, 1]
    has = np.bincount(examples[~answer.is_null], minlength=len(reasons)) > 0
    for pair in np.flatnonzero(answer.is_null)[::-1]:
        if not has[examples[pair]]:
            reasons[examples[pair]] = answer.reasons[pair]
    return reasons
