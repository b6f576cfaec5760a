"""S2L: clusters of loss trajectories of a small proxy, each with an equal share."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from curate.budget import Limit
from curate.lm.models import ModelSpec, parameter_count
from curate.method import SETS, Cost, Data, Method
from curate.requests import Checkpoint, Fit, Observe, Request
from curate.resources import default_model
from curate.selectors.kmeans import kmeans
from curate.selectors.picks import Picks
from curate.selectors.quota import quota
from curate.signals import RowVector
from curate.training.config import TrainConfig

if TYPE_CHECKING:
    import polars as pl

ITERATIONS, POINTS = 20, 256  # of k-means, and rows per cluster that it learns from, as in the authors' code
TINY = 2  # rows: clusters of at most so many come last


class S2L(Method):
    """Cluster the rows by how their loss goes down while a small proxy learns the pool, and pick evenly from the clusters.

    Signal: the mean loss of the row (nats per reply token) at each checkpoint of the proxy, [n, checkpoints], as it is.
    K-means on it; the smallest cluster first, each an equal share of what is left, at random inside; clusters of one or two
    rows only when the others are used up. Source: arXiv 2403.07384 and its authors' code.
    """

    name: ClassVar[str] = "s2l"
    paper: ClassVar[str] = "2403.07384"
    cost: ClassVar[Cost] = "training"
    by_chance: ClassVar[bool] = True

    proxy: str | None = Field(None, description="model folder or hub name of the proxy; by default the embedded one")
    checkpoints: int = Field(12, ge=1, description="points of a trajectory, evenly spaced over the proxy's training")
    epochs: float = Field(3.0, gt=0, description="passes over the pool that the proxy is trained for")
    learning_rate: float | None = Field(None, gt=0, description="of that training, at its peak; by default by model width")
    batch_tokens: int | None = Field(None, ge=1, description="tokens in a batch of it; by default as in the final run")
    clusters: int = Field(100, ge=1, description="k of k-means")
    by_source: bool = Field(False, description="first an equal share for every source, then the clusters inside it")

    def _proxy(self) -> ModelSpec:
        return ModelSpec(self.proxy or str(default_model()))

    def readers(self) -> tuple[ModelSpec, ...]:
        """The proxy."""
        return (self._proxy(),)

    def _fit(self, data: Data) -> Fit:
        # Full fine-tuning, cosine, 3% warm-up, as in the paper.
        final = data.recipe
        recipe = TrainConfig(
            adapter="none",
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            batch_tokens=self.batch_tokens or final.batch_tokens,
            dtype=final.dtype,
            gradient_checkpointing=final.gradient_checkpointing,
            save_checkpoints=self.checkpoints,
            seed=data.seed,
        )
        return Fit(self._proxy(), data.pool, recipe)

    def _losses(self, data: Data) -> list[Observe]:
        fit = self._fit(data)
        return [Observe(Checkpoint(fit, number), data.pool, "mean_loss") for number in range(1, self.checkpoints + 1)]

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """A training of the proxy on the pool, and the mean loss of each row at each of its checkpoints."""
        return list(self._losses(data))

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> RowVector:
        """Loss trajectories [n, checkpoints], nats per reply token."""
        return RowVector.of([seen[request] for request in self._losses(data)])

    def unscored(self) -> str | None:
        """That it chooses sets."""
        return f"{self.name} {SETS}"

    def remarks(self, data: Data, signal: Any) -> list[str]:
        """How much smaller the proxy is than the model to be trained."""
        proxy, target = self._proxy(), data.trained or data.model
        if proxy == target:
            return [f"the proxy {proxy.label} is the model to be trained itself, so it saves nothing"]
        ratio = parameter_count(target.folder()) / parameter_count(proxy.folder())
        return [f"a token costs the proxy {proxy.label} 1/{ratio:.3g} of what it costs {target.label}, by their parameters"]

    def choose(self, signal: RowVector, table: "pl.DataFrame", limit: Limit, rng: np.random.Generator) -> Picks:
        """Equal shares by cluster, at random inside; `stratum` is the cluster (`source/cluster` by source)."""
        there = np.flatnonzero(~signal.is_null)
        order = rng.permutation(there)
        if not self.by_source:
            return quota(self._strata(signal, there, None, rng), order, limit, name="cluster", tiny=TINY)
        sources = table["source"].to_list()
        outer = quota(sources, order, limit, name="source")
        parts = []
        for source in dict.fromkeys(sources[i] for i in outer.index.tolist()):
            share = float(limit.costs[[i for i in outer.index.tolist() if sources[i] == source]].sum())
            inside = np.array([i for i in order.tolist() if sources[i] == source], dtype=np.int64)
            strata = self._strata(signal, np.sort(inside), source, rng)
            parts.append(quota(strata, inside, Limit(limit.costs, share, limit.unit), name="cluster", tiny=TINY))
        if not parts:
            return outer
        return Picks(
            index=np.concatenate([part.index for part in parts]),
            gain=np.concatenate([part.gain for part in parts]),
            stratum=[stratum for part in parts for stratum in part.stratum],
            reason=[reason for part in parts for reason in part.reason],
            nulls=outer.nulls,
            shortfall=outer.shortfall,
        )

    def _strata(self, signal: RowVector, rows: np.ndarray, source: str | None, rng: np.random.Generator) -> list[str | None]:
        """The name of the cluster of each row of the pool; None for those that are not among `rows`."""
        strata: list[str | None] = [None] * len(signal)
        prefix = "" if source is None else f"{source}/"
        found = kmeans(signal.values[rows], self.clusters, rng, iterations=ITERATIONS, points=POINTS)
        for i, cluster in zip(rows.tolist(), found.tolist(), strict=True):
            strata[i] = f"{prefix}{cluster}"
        return strata
