"""NN-CIFT: an expensive influence computed for few pairs, and predicted by a small network for the others."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field, field_validator

from curate.agreement import SHARES, Agreement, agreement
from curate.errors import InputError
from curate.influence_network import HELD_OUT, InfluenceNetwork, NetworkConfig, train_network
from curate.method import Cost, Data, Method
from curate.neighbours import unit_vectors
from curate.pair_scores import PairScore, example_scores
from curate.registry import make_method
from curate.requests import Embed, Pairs, Request, Rows, Subset
from curate.selectors.influence import best_subtask
from curate.selectors.tokens import share_of
from curate.signals import RowScore, RowVector
from curate.wording import counted
from scorers.delift import Staged, Utilities, by_proxy, other_block, pick, stage_of
from scorers.influence import INFLUENCES

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit
    from curate.selectors.picks import Picks

POINTWISE = "pointwise."
MOST_NUMBERS = 2**27  # of a predicted matrix: half a gigabyte
QUADRANTS = ("trained pairs", "new rows", "new examples", "both new")


@dataclass(frozen=True)
class Sample:
    """Positions whose true values are computed. rows, examples: of the block trained on; new_*: of the probe, no part of it."""

    rows: np.ndarray
    examples: np.ndarray
    new_rows: np.ndarray
    new_examples: np.ndarray

    @property
    def quadrants(self) -> list[np.ndarray]:
        """int64 [p, 2] each: all pairs of the block; then of the probe's size: new rows, new examples, both new."""
        few_rows, few_examples = self.rows[: len(self.new_rows)], self.examples[: len(self.new_examples)]
        return [
            _grid(self.rows, self.examples),
            _grid(self.new_rows, few_examples),
            _grid(few_rows, self.new_examples),
            _grid(self.new_rows, self.new_examples),
        ]


@dataclass(frozen=True)
class Check:
    """Of a network's predictions. mse: by quadrant, values scaled to [0, 1] by those trained on; NaN where none were computed.

    by_mean  the same of predicting the mean of the values trained on, whatever the pair.
    probe    of pairs with both sides new; None without a probe.
    held     whether pairs were held out of the training to say when it should stop.
    """

    of: str
    trained: int
    pairs: int
    mse: tuple[float, ...]
    by_mean: tuple[float, ...]
    probe: Agreement | None
    constant: bool
    parameters: int
    steps: int
    held: bool

    def notes(self) -> list[str]:
        """What a user should know."""
        share = f"{self.trained:,} of {self.pairs:,} pairs ({self.trained / self.pairs:.2%})"
        said = [f"{self.of}: a network of {self.parameters:,} numbers trained on {share}, {self.steps:,} steps"]
        if self.constant:
            return [*said, f"{self.of}: all values computed are the same, so all that are predicted are too"]
        errors = zip(QUADRANTS, self.mse, self.by_mean, strict=True)
        told = [f"{name} {mse:.3g} ({mean:.3g})" for name, mse, mean in errors if not np.isnan(mse)]
        said[0] += f"; squared error (and that of the trained pairs' mean for all) {', '.join(told)}"
        if self.probe is None:
            said.append(f"{self.of}: no probe, so nothing says whether it ranks pairs that it has not seen")
        else:
            said[0] += f"; both new: {self._ranks(self.probe)}"
            if self.probe.too_small:
                more = "raise probe, or give more rows if none are left"
                said.append(f"{self.of}: the probe is too small to tell these ranks from chance; {more}")
            elif self.probe.by_chance:
                said.append(f"{self.of}: the network ranks pairs that it has not seen no better than chance; raise u")
        if not self.held:
            few = f"a block of fewer than {HELD_OUT} rows and examples"
            said.append(f"{self.of}: nothing is held out of {few}, so nothing said when its training should stop")
        return said

    @staticmethod
    def _ranks(found: Agreement) -> str:
        overlaps = [f"{overlap:.0%} of the top {share:.0%}" for overlap, share in zip(found.overlaps, SHARES, strict=True)]
        return f"Spearman {found.spearman:.2f} (p {found.p:.2g}), {' and '.join(overlaps)}"


@dataclass(frozen=True)
class Predicted(Utilities):
    """Utilities that a network predicts; `pool` may be of a sample of the rows. checks: one for each network."""

    checks: tuple[Check, ...] = ()


@dataclass(frozen=True)
class PredictedRows:
    """Scores of rows that a network predicts, by the preference of the method it learned from."""

    score: RowScore
    checks: tuple[Check, ...]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.score)

    @property
    def reasons(self) -> np.ndarray:
        """object [n]."""
        return self.score.reasons


class NNCIFT(Staged):
    """Choose as DELIFT does (or by another influence), with true values for few pairs only.

    A network of one hidden layer learns the values of a small block of pairs from the embeddings of row and example, and
    predicts all others; a probe of pairs that it has not seen says whether it ranks them. Score: a row's mean predicted
    influence as an example; higher is better. Source: arXiv 2502.09969.
    """

    name: ClassVar[str] = "nn-cift"
    paper: ClassVar[str] = "2502.09969"
    cost: ClassVar[Cost] = "pairs"

    influence: str = Field("delift", description="delift, delift-se, less, or pointwise.METHOD: another method's score of rows")
    u: float = Field(0.05, gt=0, le=1, description="fraction of the rows, and of the examples, whose pairs are computed")
    u_other: float | None = Field(None, gt=0, le=1, description="that of a target's rows, or of existing data; by default u")
    probe: int = Field(16, ge=0, description="new rows and examples whose pairs are computed to check the network; 0: none")
    network: NetworkConfig = NetworkConfig()
    represented: int | None = Field(None, ge=1, description="rows to represent, a sample; by default as many as memory takes")

    @field_validator("influence")
    @classmethod
    def _known(cls, text: str) -> str:
        text = text.replace(":", ".", 1)
        if text.startswith(POINTWISE):
            make_method(text.removeprefix(POINTWISE))
        elif text not in INFLUENCES:
            raise ValueError(f"it must be {', '.join(INFLUENCES)} or {POINTWISE}METHOD, not {text!r}")
        return text

    # Influence of pairs -------------------------------------------------------------------------------------------------

    def _blocks(self, data: Data) -> list[tuple[Rows, Rows]]:
        if self.influence == "less":
            if data.target is None:
                raise InputError(f"{self.name} with influence=less needs --target, as less does")
            return [(data.target, data.pool)]
        other = other_block(data, stage_of(data, self.objective, self.name), self.form)
        return [(data.pool, data.pool), *([other] if other else [])]

    def _sample(self, data: Data, rows: int, examples: int, a: int, b: int, number: int) -> Sample:
        """A block of a rows and b examples, and a probe beside it, drawn by the seed of the run for the number-th block."""
        rng = np.random.default_rng([data.seed, number])
        i, j = rng.permutation(rows), rng.permutation(examples)
        return Sample(i[:a], j[:b], i[a : a + self.probe], j[b : b + self.probe])

    def _share(self, data: Data, side: Rows) -> int:
        """How many rows of a side are in its block; InputError where that is less than two."""
        option, u = ("u", self.u) if side == data.pool or self.u_other is None else ("u_other", self.u_other)
        if side.size < 2:
            raise InputError(f"{self.name}: the {side.role} has {counted(side.size)}, and at least 2 are needed")
        if (few := share_of(u, side.size)) < 2:
            what = f"{option}={u:g} of the {counted(side.size)} of the {side.role} is {few}"
            more = "u" if side == data.pool else "u_other"
            raise InputError(f"{self.name}: {what}, and at least 2 are needed; raise {more}")
        return few

    def _pairs(self, data: Data) -> list[tuple[Pairs, Sample]]:
        blocks, found = self._blocks(data), []
        sizes = [(self._share(data, rows), self._share(data, examples)) for rows, examples in blocks]
        for number, ((rows, examples), (a, b)) in enumerate(zip(blocks, sizes, strict=True)):
            sample = self._sample(data, rows.size, examples.size, a, b, number)
            found.append((Pairs(rows, examples, np.concatenate(sample.quadrants)), sample))
        return found

    # Influence of rows --------------------------------------------------------------------------------------------------

    def _rows(self, data: Data) -> tuple[Method, Data, Sample, np.ndarray]:
        """(the method that knows, what it is asked about, which rows are trained on, the positions of all that it is asked)."""
        sample = self._sample(data, 1, data.pool.size, 0, self._share(data, data.pool), 0)
        asked = np.sort(np.concatenate([sample.examples, sample.new_examples]))
        part: Any = Subset(data.pool, asked)
        return make_method(self.influence.removeprefix(POINTWISE)), replace(data, pool=part), sample, asked

    # What a method is ---------------------------------------------------------------------------------------------------

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """A vector of every row, and what the true values of the pairs of the block and the probe follow from."""
        if self.influence.startswith(POINTWISE):
            method, part, _, _ = self._rows(data)
            return [Embed(data.embedder, data.pool), *method.requests(part, seen)]
        asked: dict[Request, None] = {}
        for pairs, _ in self._pairs(data):
            asked |= dict.fromkeys(Embed(data.embedder, side) for side in (pairs.rows, pairs.examples))
            asked |= dict.fromkeys(INFLUENCES[self.influence].requests(data, pairs))
        return list(asked)

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Predicted | PredictedRows:
        """Predicted influence, unitless as what it learned from."""
        if self.influence.startswith(POINTWISE):
            return self._signal_of_rows(data, seen, rng)
        scores, checks, n = [], [], data.pool.size
        kept = np.random.default_rng([data.seed, n]).permutation(n)[: max(2, min(self.represented or n, MOST_NUMBERS // n))]
        kept.sort()
        for pairs, sample in self._pairs(data):
            values = INFLUENCES[self.influence].values(data, seen, pairs)
            rows, examples = (unit_vectors(seen[Embed(data.embedder, side)]) for side in (pairs.rows, pairs.examples))
            what = f"{pairs.rows.role} after {pairs.examples.role}"
            network, check = self._learn(what, rows, examples, sample, values, rng)
            checks.append(check)
            every = kept if pairs.rows == data.pool else np.arange(len(rows))
            predicted = network.predict(rows[every], examples)
            if pairs.rows == pairs.examples and self.diag == "zero":
                predicted[np.arange(len(every)), every] = 0
            if self.influence == "less":
                return self._best_of_subtasks(data, seen, predicted, check)
            scores.append(PairScore(predicted))
        vectors = seen[Embed(data.embedder, data.pool)]
        reasons = without_direction(vectors)
        other, stage = scores[1] if len(scores) > 1 else None, stage_of(data, self.objective, self.name)
        said = [note for check in checks for note in check.notes()]
        if len(kept) < n:
            said.append(f"{len(kept):,} of the {n:,} rows of the pool, drawn at random, are represented for all")
        return Predicted(scores[0], other, stage, reasons, tuple(said), tuple(checks))

    def _best_of_subtasks(self, data: Data, seen: Mapping[Request, Any], predicted: np.ndarray, check: Check) -> PredictedRows:
        """LESS's score of each row from what is predicted for it with each row of the target."""
        names = data.target_sources or (None,) * len(predicted)
        reasons = without_direction(seen[Embed(data.embedder, data.pool)])
        there, values = reasons == None, np.full(len(reasons), np.nan)  # noqa: E711 (elementwise)
        values[there] = best_subtask(predicted.T[there], names)
        return PredictedRows(RowScore(values, reasons), (check,), tuple(check.notes()))

    def _signal_of_rows(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> PredictedRows:
        method, part, sample, asked = self._rows(data)
        signal = method.signal(part, seen, rng)
        preference, score = method.preference(signal), method.score(signal)
        where = np.searchsorted(asked, np.concatenate([sample.examples, sample.new_examples]))
        # One row without a vector stands for the rows: the probe then is of new examples alone.
        sample = replace(sample, rows=np.zeros(1, np.int64), new_rows=np.zeros(1, np.int64))
        trained, new = preference[where[: len(sample.examples)]], preference[where[len(sample.examples) :]]
        vectors = seen[Embed(data.embedder, data.pool)]
        examples, nothing = unit_vectors(vectors), np.zeros((1, 0), np.float32)
        values = np.concatenate([trained, trained[: len(new)], new, new])
        why = next((str(reason) for reason in score.reasons if reason), "it has no score")
        of = RowScore(values, np.array([why if null else None for null in np.isnan(values)], dtype=object))
        network, check = self._learn(f"{method.name} of {data.pool.role}", nothing, examples, sample, of, rng)
        predicted = network.predict(nothing, examples)[0].astype(np.float64)
        return PredictedRows(RowScore(predicted, without_direction(vectors)), (check,), tuple(check.notes()))

    def _learn(
        self, what: str, rows: np.ndarray, examples: np.ndarray, sample: Sample, values: RowScore, rng: np.random.Generator
    ) -> tuple[InfluenceNetwork, Check]:
        """values: of the pairs of the sample's quadrants, one after the other."""
        quadrants = sample.quadrants
        parts = np.split(values.values, np.cumsum([len(index) for index in quadrants])[:-1])
        index, there = quadrants[0], np.isfinite(parts[0])
        there &= np.isfinite(rows[index[:, 0]]).all(axis=1) & np.isfinite(examples[index[:, 1]]).all(axis=1)
        if not there.any():
            reason = next((reason for reason in values.reasons if reason), "no vector")
            raise InputError(f"{self.name}: not one of the {len(index):,} pairs of {what} has a value: {reason}")
        network = train_network(rows, examples, index[there], parts[0][there], rng, self.network)
        errors: list[float] = []
        by_mean: list[float] = []
        mean, probe = float(np.mean(network.scaled(parts[0][there]))), None
        for pairs, true in zip(quadrants, parts, strict=True):
            predicted = _at(network, rows, examples, pairs)
            both = np.isfinite(predicted) & np.isfinite(true)
            if rows.shape[1] == 0 and len(errors) in (1, 2):  # there are no rows, so none are new
                both[:] = False
            wanted = network.scaled(true[both])
            for kept, given in ((errors, network.scaled(predicted[both])), (by_mean, mean)):
                kept.append(float(np.mean((given - wanted) ** 2)) if both.any() else float("nan"))
            probe = np.where(both, predicted, 0.0), np.where(both, true, np.nan)
        found = None
        shape = len(sample.new_rows), len(sample.new_examples)
        if max(shape) > 1 and min(shape) > 0 and not np.isnan(errors[-1]):
            predicted, true = (side.reshape(shape) for side in probe)  # type: ignore[union-attr]
            found = agreement(predicted, true, rng)
        held = max(len(np.unique(side)) for side in index[there].T) >= HELD_OUT
        total, size = len(rows) * len(examples), (network.constant, network.parameters, network.steps)
        return network, Check(what, int(there.sum()), total, tuple(errors), tuple(by_mean), found, *size, held)

    def remarks(self, data: Data, signal: Any) -> list[str]:
        """On how many pairs the networks were trained, and how well they rank pairs that they have not seen."""
        return [*(by_proxy(data) if self.influence == "delift" else []), *signal.notes]

    def score(self, signal: Any) -> RowScore:
        """Each row's mean predicted influence as an example, or its predicted score."""
        if isinstance(signal, PredictedRows):
            return signal.score
        return example_scores(signal.pool, signal.reasons, "no value is predicted for it")

    def choose(self, signal: Any, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """Greedy picks of the stage's objective on predicted influence; the best scores where rows have one by themselves."""
        if isinstance(signal, PredictedRows):
            return super().choose(signal, table, limit, rng)
        return pick(signal, limit, kernel=self.kernel, form=self.form, eta=self.eta, nu=self.nu)


def without_direction(vectors: RowVector) -> np.ndarray:
    """object [n]: why a row has no unit vector, else None."""
    reasons = vectors.reasons.copy()
    reasons[np.isnan(unit_vectors(vectors)).any(axis=1) & ~vectors.is_null] = "its vector is 0 everywhere"
    return reasons


def _grid(rows: np.ndarray, examples: np.ndarray) -> np.ndarray:
    """int64 [n m, 2]: all pairs, row by row."""
    return np.stack([np.repeat(rows, len(examples)), np.tile(examples, len(rows))], axis=1).astype(np.int64)


def _at(network: InfluenceNetwork, rows: np.ndarray, examples: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """float64 [p]: what is predicted for pairs."""
    i, at_i = np.unique(pairs[:, 0], return_inverse=True)
    j, at_j = np.unique(pairs[:, 1], return_inverse=True)
    return network.predict(rows[i], examples[j])[at_i, at_j].astype(np.float64)
