"""LESS: keep what would move the model in the direction that target examples ask for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from curate.errors import InputError
from curate.lm.gradient_config import Adam, GradientConfig
from curate.method import Cost, Data, Method
from curate.requests import Checkpoint, Fit, Gradients, Request, Rows, Subset
from curate.selectors.influence import best_subtask, cosines, influence, to_mean_direction
from curate.selectors.tokens import share_of
from curate.signals import RowScore, RowVector
from curate.training.config import TrainConfig, mean_rates

ALIKE = 0.9  # mean cosine of rows with their mean direction from which on less than a fifth of a squared length is a row's own


@dataclass(frozen=True)
class Influences(RowVector):
    """Influence of each row on each target row: float32 [n, m], NaN on targets without a gradient; null as for vectors.

    subtasks  of each target row.
    shared    for each checkpoint the mean cosine of the rows with their mean direction.
    """

    subtasks: tuple[str | None, ...]
    shared: tuple[float, ...]


class GradientInfluence(Method):
    """What LESS and BIDS have in common: a short training, and the gradients of rows and target at its checkpoints."""

    cost: ClassVar[Cost] = "influence"

    warmup: float = Field(0.05, gt=0, le=1, description="share of the pool, drawn at random, that the warm-up trains on")
    epochs: int = Field(4, ge=1, description="of the warm-up, each with a checkpoint at its end")
    lora_r: int = Field(16, ge=1, description="rank of the warm-up's adapters; 128 in the paper")
    lora_alpha: float = Field(64.0, gt=0, description="their scale is alpha / r; 512 in the paper")
    lora_dropout: float = Field(0.1, ge=0, lt=1, description="of the warm-up's adapters")
    target_modules: str = Field("q_proj,k_proj,v_proj,o_proj", description="modules with an adapter, or all-linear")
    learning_rate: float | None = Field(None, gt=0, description="the warm-up's peak; by default by model width")
    batch_tokens: int | None = Field(None, ge=1, description="tokens in a batch of the warm-up; by default as in the final run")
    direction: Literal["adam", "sgd"] = Field("adam", description="of the pool's rows; the target's are plain gradients")
    eps_place: Literal["inside", "outside"] = Field("inside", description="of Adam's square root; inside in the authors' code")
    bias_correction: bool = Field(False, description="of Adam's moments; none in the authors' code")
    projection: Literal["rademacher", "sparse", "sketch", "none"] = Field(
        "rademacher", description="of gradients; sketch keeps inner products as well and costs next to nothing"
    )
    dimensions: int = Field(8192, ge=1, le=1 << 22, description="that gradients are projected onto")
    store: Literal["float16", "int8", "1bit"] = Field("float16", description="what the pool's vectors are kept in")

    def _target(self, data: Data) -> Rows:
        if data.target is None:
            raise InputError(f"{self.name} needs --target: examples of what the model should become good at")
        return data.target

    def fit(self, data: Data) -> Fit:
        """The warm-up, on a part of the pool drawn by the run's seed."""
        size = max(1, share_of(self.warmup, data.pool.size))
        drawn = np.random.default_rng(data.seed).choice(data.pool.size, size, replace=False)
        modules, final = self.target_modules, data.recipe
        recipe = TrainConfig(
            lora_r=self.lora_r,
            lora_alpha=self.lora_alpha,
            lora_dropout=self.lora_dropout,
            target_modules=modules if modules == "all-linear" else tuple(modules.split(",")),
            quantization=final.quantization,
            dtype=final.dtype,
            gradient_checkpointing=final.gradient_checkpointing,
            learning_rate=self.learning_rate,
            schedule="linear",
            batch_tokens=self.batch_tokens or final.batch_tokens,
            epochs=self.epochs,
            seed=data.seed,
            save_checkpoints=self.epochs,
            save_optimizer=True,
        )
        return Fit(data.model, Subset(data.pool, np.sort(drawn)), recipe)

    def gradients(self, data: Data) -> list[tuple[Gradients, Gradients]]:
        """For each checkpoint the gradients of the pool and those of the target."""
        plain = GradientConfig(projection=self.projection, dimensions=self.dimensions, dtype="float16")
        adam = Adam(eps_place=self.eps_place, bias_correction=self.bias_correction)
        # The target's few vectors stay whole: then cosines with signs alone are off by a factor, the same for all.
        moved = plain.model_copy(update={"adam": adam if self.direction == "adam" else None, "dtype": self.store})
        fit, target = self.fit(data), self._target(data)
        points = [Checkpoint(fit, number) for number in range(1, self.epochs + 1)]
        return [(Gradients(point, data.pool, moved), Gradients(point, target, plain)) for point in points]

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """One fit on a part of the pool, and at each of its checkpoints gradients of the pool and of the target."""
        return [self.fit(data), *(request for pair in self.gradients(data) for request in pair)]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Influences:
        """Cosines [n, targets], averaged over checkpoints by the learning rates that led to them."""
        fit, target = self.fit(data), self._target(data)
        rates = mean_rates(fit.recipe, int(seen[fit].account["steps"]))
        reasons = np.full(data.pool.size, None, dtype=object)
        parts: list[tuple[float, np.ndarray]] = []
        shared: list[float] = []
        for rate, (pool, aim) in zip(rates, self.gradients(data), strict=True):
            rows, aims = seen[pool], seen[aim]
            zero = ~rows.values.any(axis=1) & ~rows.is_null
            given = np.where(zero, "the gradient is zero", rows.reasons)
            reasons = np.where(reasons == None, given, reasons)  # noqa: E711 (elementwise)
            parts.append((rate, cosines(rows.values, aims.values)))
            shared.append(to_mean_direction(rows.values))
        values = influence(parts).astype(np.float32)
        values[reasons != None] = np.nan  # noqa: E711
        if np.isnan(values[reasons == None]).all(axis=0).all():  # noqa: E711
            raise InputError(f"{self.name}: no row of the target has a gradient at every checkpoint")
        return Influences(values, reasons, data.target_sources or (None,) * target.size, tuple(shared))

    def remarks(self, data: Data, signal: Influences) -> list[str]:
        """How much of every row's direction is common to all, and whether that leaves enough to tell rows apart."""
        cosine = float(np.mean(signal.shared))
        said = f"the rows' directions have a mean cosine of {cosine:.2f} with their mean direction"
        if cosine < ALIKE:
            return [f"{said}: they differ, as they should for scores to tell rows apart"]
        other = "; direction=sgd leaves out what Adam adds to all" if self.direction == "adam" else ""
        return [f"{said}: they are nearly the same, so scores tell little apart{other}"]


class LESS(GradientInfluence):
    """Keep the rows whose next step of Adam points the way that the gradients of some target examples do.

    Score: the mean cosine with the target rows of a subtask, averaged over the checkpoints of a short training on a part of
    the pool by learning rate, and of all subtasks the best; in [-1, 1], higher is kept. Source: arXiv 2402.04333 and its
    authors' code.
    """

    name: ClassVar[str] = "less"
    paper: ClassVar[str] = "2402.04333"

    subtasks: Literal["source", "one"] = Field("source", description="what a subtask is: a source of the target, or all of it")

    def score(self, signal: Influences) -> RowScore:
        """[n]: the best of the subtasks' means."""
        there = ~signal.is_null
        values = np.full(len(signal), np.nan)
        names = signal.subtasks if self.subtasks == "source" else (None,) * len(signal.subtasks)
        values[there] = best_subtask(signal.values[there], names)
        return RowScore(values, signal.reasons)
