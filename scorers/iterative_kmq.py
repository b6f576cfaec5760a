"""Iterative kMQ: clusters get more of the budget where the model, trained on what was picked so far, still falls short."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from curate.budget import Limit
from curate.errors import InputError
from curate.method import Cost, Data
from curate.requests import Fit, Generate, Observe, Request, Subset
from curate.selectors.picks import Picks, shortfall
from curate.selectors.quota import quota
from curate.selectors.weighted import Update, updated, weighted_order
from curate.signals import RowScore
from curate.wording import counted
from scorers.kmq import KMQ, Clustered

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Refined:
    """Picks of a budget, round by round. rounds: int64 each, positions. weights: by cluster, as each round drew by them."""

    clustered: Clustered
    rounds: list[np.ndarray]
    weights: list[dict[str | None, float]]

    @property
    def reasons(self) -> np.ndarray:
        return self.clustered.reasons

    def __len__(self) -> int:
        return len(self.clustered)


class IterativeKMQ(KMQ):
    """kMQ in rounds: train on what was picked, let the model reply, and draw more from the clusters where it falls short.

    Shortfall of a row: by how much its own reply beats the model's, mean over the round's rows of a cluster. Each round the
    clusters' weights are multiplied by a softmax of it. Source: Diversify and Conquer, arXiv 2409.11378.
    """

    name: ClassVar[str] = "iterative-kmq"
    cost: ClassVar[Cost] = "training"
    by_budget: ClassVar[bool] = True

    rounds: int = Field(3, ge=1, description="in how many parts the budget is spent")
    shortfall: Literal["perplexity", "overlap"] = Field(
        "perplexity",
        description="perplexity: log perplexity of the row's reply less that of the model's own; overlap: 1 - F1 of their tokens",
    )
    update: Update = Field(
        "product", description="of the clusters' weights: product, paper (linear) or memoryless (softmax alone)"
    )
    temperature: float = Field(1.0, gt=0, description="of the softmax")
    max_new_tokens: int = Field(128, ge=1, description="of a reply")

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """What kMQ needs; then for each round but the last a training on the picks so far and replies to the round's."""
        first = super().requests(data, seen)
        return first if any(request not in seen for request in first) else [*first, *self._walk(data, seen)[0]]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Refined:  # type: ignore[override]
        """The picks of each round."""
        refined = self._walk(data, seen)[1]
        assert refined is not None
        return refined

    def _walk(self, data: Data, seen: Mapping[Request, Any]) -> tuple[list[Request], Refined | None]:
        """The requests of all rounds that can be known by now; and the picks when nothing is missing for them."""
        if data.limit is None:
            raise InputError("iterative-kmq chooses for one budget; use select or compare")
        rng = np.random.default_rng([data.seed, 0x6B6D71])  # rounds are asked about again and again, and must come out alike
        clustered = super().signal(data, seen, rng)
        there = np.flatnonzero(clustered.reasons == None)  # noqa: E711 (elementwise)
        order = there[weighted_order(clustered.log_weights[there], rng)]
        names = sorted({stratum for stratum in clustered.strata if stratum is not None}, key=int)
        weights = np.full(len(names), 1 / max(1, len(names)))
        limit = data.limit
        rounds: list[np.ndarray] = []
        used: list[dict[str | None, float]] = []
        asked: list[Request] = []
        for turn in range(1, self.rounds + 1):
            taken = np.concatenate([*rounds, there[:0]])
            left = Limit(limit.costs, limit.capacity * turn / self.rounds - limit.costs[taken].sum(), limit.unit)
            if limit.unit == "rows":
                left = Limit(limit.costs, np.floor(limit.capacity * turn / self.rounds + 1e-9) - len(taken))
            used.append(dict(zip(names, weights.tolist(), strict=True)))
            new = quota(clustered.strata, order[~np.isin(order, taken)], left, rule=used[-1], name="cluster").index
            rounds.append(new)
            if turn == self.rounds or not len(new):
                continue
            fit = Fit(data.model, Subset(data.pool, np.sort(np.concatenate(rounds))), data.recipe.trained_for(1.0, data.seed))
            rows = Subset(data.pool, np.sort(new))
            own, replies = Observe(fit, rows, "mean_loss"), Generate(fit, rows, self.max_new_tokens)
            asked += [own, replies]
            if own not in seen or replies not in seen:
                return asked, None
            short = self._shortfall(seen[own], seen[replies])
            strata = np.array([clustered.strata[i] for i in rows.index], dtype=object)
            means = [_mean(short[strata == name]) for name in names]
            weights = updated(weights, np.array(means), rule=self.update, temperature=self.temperature)
        return asked, Refined(clustered, rounds, used)

    def _shortfall(self, own: RowScore, replies: Any) -> np.ndarray:
        """float64 [m], higher where the row's own reply is further ahead of the model's; NaN where unknown."""
        return own.values - replies.mean_loss if self.shortfall == "perplexity" else 1 - replies.overlap

    def score(self, signal: Refined) -> RowScore:  # type: ignore[override]
        """The quality of each row."""
        return super().score(signal.clustered)

    def remarks(self, data: Data, signal: Any) -> list[str]:
        """How many clusters, how many rounds picked nothing, and which cluster gained most."""
        said = super().remarks(data, signal.clustered)
        if empty := sum(not len(rows) for rows in signal.rounds):
            said.append(f"{empty:,} of the {counted(self.rounds, 'round')} picked no row: the budget has too few for as many")
        first, last = signal.weights[0], signal.weights[-1]
        if len(signal.weights) > 1 and len(last) > 1:
            gained = max(last, key=lambda name: last[name] / first[name])
            lost = min(last, key=lambda name: last[name] / first[name])
            said.append(
                f"the weight of cluster {gained} went from {first[gained]:.3f} to {last[gained]:.3f}, "
                f"that of cluster {lost} to {last[lost]:.3f}"
            )
        return said

    def choose(self, signal: Refined, table: "pl.DataFrame", limit: Limit, rng: np.random.Generator) -> Picks:  # type: ignore[override]
        """The rounds one after the other; `stratum` is the cluster."""
        index = np.concatenate([*signal.rounds, np.empty(0, dtype=np.int64)])
        rounds = np.repeat(np.arange(1, len(signal.rounds) + 1), [len(part) for part in signal.rounds])
        strata = [signal.clustered.strata[i] for i in index.tolist()]
        there = np.flatnonzero(signal.reasons == None)  # noqa: E711 (elementwise)
        return Picks(
            index=index,
            gain=np.full(len(index), np.nan),
            stratum=strata,
            reason=[f"round {turn}, cluster {name}" for turn, name in zip(rounds.tolist(), strata, strict=True)],
            nulls=len(signal) - len(there),
            shortfall=shortfall(index, there, limit),
        )


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
