"""What a plan would take: tokens, FLOPs, memory and time, calibrated by running a first few batches of it.

Times are of this machine now. What is in the store already costs nothing.
"""

import resource
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from curate.budget import Limit
from curate.costs import break_even
from curate.embedding.record import Encode
from curate.embedding.tfidf import TfidfModel
from curate.engine import Engine
from curate.lm.batching import batches_by_length
from curate.lm.encodings import scored_positions
from curate.lm.models import ModelSpec, parameter_count, resolve_device
from curate.lm.views import CONVERSATION
from curate.passes import SHARD_TOKENS
from curate.plan import Pass, Plan, base_model, fit_name, lineage
from curate.requests import Fit, Gradients, Rows, Subset
from curate.training.config import TrainConfig, expected_tokens, training_flops
from curate.work import RowWork, works
from curate.work.embeddings import Embedding
from curate.work.gradients import GradientWork, adapted, projected
from curate.work.judging import Judging
from curate.work.passes import Passing
from curate.work.replies import Replying

CALIBRATION_BATCHES = 3  # of forward passes
WRITING = 4  # times as long as reading, roughly, in batches on a CPU
EMBEDDED_ROWS = 256  # at most, that are embedded to time it
CALIBRATION_STEPS = (2, 10)  # of trainings: those that warm up, and all
# What makes a training one to be timed: so many steps, and nothing left behind.
SHORT: dict[str, Any] = {
    "epochs": None, "tokens": None, "save_checkpoints": 0, "checkpoint_steps": None, "report_to": "none"
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One line of an estimate. rows and tokens: to be computed; 0 where the store has all. memory: bytes at the peak."""

    name: str
    rows: int
    tokens: int
    flops: float
    seconds: float
    memory: int


@dataclass(frozen=True)
class Speed:
    """setup: seconds before the first batch. per_unit: seconds for a token, or a row of texts. memory: bytes at the peak."""

    setup: float
    per_unit: float
    memory: int


class Calibration:
    """Speeds measured once each, on an engine whose pools are tokenised."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._passes: dict[Any, Speed] = {}
        self._trainings: dict[Any, Speed] = {}
        self._gradients: dict[Any, Speed] = {}

    def speed(self, work: RowWork) -> Speed:
        """Of row-wise work."""
        if isinstance(work, Passing):
            return self.forward(work.step)
        if isinstance(work, Embedding):
            return self.embedding(work)
        if isinstance(work, GradientWork):
            return self.gradients(work.asked)
        assert isinstance(work, Replying | Judging)
        reading = self.forward(Pass(work.base, work.asked.rows, CONVERSATION, ("mean_loss",)))
        if isinstance(work, Judging):
            return reading
        return replace(reading, per_unit=WRITING * reading.per_unit)

    def forward(self, step: Pass) -> Speed:
        """Of a pass; where its model is a fit that was not made yet, of the plain model, which is as fast."""
        from curate.lm.forward import traces

        model = base_model(step.model)
        key = model, step.rows, step.view, step.needs
        if key not in self._passes:
            view = Passing(self.engine, step).view()
            began = time.perf_counter()
            self.engine.unload()  # so that loading is timed
            network = self.engine.load(model)
            list(traces(network, view.take(_smallest(view.lengths)), step.needs))
            setup = time.perf_counter() - began
            sample = view.take(typical(view.lengths, self.engine.batch_tokens))
            list(traces(network, view.take(typical(view.lengths, self.engine.batch_tokens, 1)), step.needs))  # warm up
            began = time.perf_counter()
            list(traces(network, sample, step.needs, batch_tokens=self.engine.batch_tokens))
            taken = time.perf_counter() - began
            self._passes[key] = Speed(setup, taken / max(1, int(sample.lengths.sum())), peak_memory(self.engine))
        return self._passes[key]

    def training(self, model: ModelSpec, rows: Rows | Subset, recipe: TrainConfig) -> Speed:
        """Of a training by this recipe, by making its first steps."""
        from curate.training.trainer import accumulation, train

        key = model, rows, recipe.model_copy(update={"epochs": None, "steps": None, "tokens": None, "seed": 0})
        if key not in self._trainings:
            warm, steps = CALIBRATION_STEPS
            encodings, network = self.engine.encodings(model, rows), self.engine.load_for_training(model, recipe)
            # Of a few batches it may seem better to cut them finer than all of them will be cut.
            parts = accumulation(encodings.lengths, recipe, network.device.type)
            few = recipe.model_copy(update=SHORT | {"steps": steps, "gradient_accumulation": parts})
            tokenizer, losses = self.engine.tokenizer(model), None
            if recipe.token_policy == "rho-1":  # any numbers do to time it
                losses = [np.zeros(len(scored_positions(mask)), np.float32) for mask in encodings.loss_mask]
            train(network, tokenizer, encodings, few.model_copy(update={"steps": 1}), reference=losses)  # imports, buffers
            began, marks = time.perf_counter(), []  # when each step was done
            network = self.engine.load_for_training(model, recipe)
            tell = lambda done, total: marks.append(time.perf_counter())  # noqa: E731
            result = train(network, tokenizer, encodings, few, reference=losses, progress=tell)
            per_unit = float(np.median(np.diff(marks[warm - 1 :]))) * steps / result.tokens
            setup = max(0.0, marks[-1] - began - per_unit * result.tokens)
            self._trainings[key] = Speed(setup, per_unit, peak_memory(self.engine))
        return self._trainings[key]

    def gradients(self, request: Gradients) -> Speed:
        """Of gradients; at a checkpoint that was not made yet, of untrained adapters of its shape, which is as fast."""
        key = request.rows, request.config, (*lineage(request.model), base_model(request.model))
        if key not in self._gradients:
            engine = self.engine
            encodings = engine.encodings(base_model(request.model), request.rows)
            began = time.perf_counter()
            network, moments = adapted(engine, request, made=False)
            few = encodings.take(_smallest(encodings.lengths))
            list(projected(network, few, request.config, moments))
            setup, began = time.perf_counter() - began, time.perf_counter()
            list(projected(network, few, request.config, moments))
            each = time.perf_counter() - began  # of a projection, which a shard takes once, almost whatever its rows
            began = time.perf_counter()
            sample = encodings.take(typical(encodings.lengths, engine.batch_tokens))
            list(projected(network, sample, request.config, moments, batch_tokens=engine.batch_tokens))
            taken = time.perf_counter() - began
            per_unit = max(taken - each, 0.0) / max(1, int(sample.lengths.sum())) + each / SHARD_TOKENS
            self._gradients[key] = Speed(setup, per_unit, peak_memory(engine))
        return self._gradients[key]

    def embedding(self, work: Embedding) -> Speed:
        """Of an embedding of texts, for each row instead of token; where TF-IDF must learn its words, that is in it."""
        texts = list(islice(self.engine.texts(work.asked.rows, work.asked.view), EMBEDDED_ROWS))
        began, words = time.perf_counter(), work.words
        if words is not None and work.waits:
            encode: Encode = lambda texts: TfidfModel.fit(texts, words.dimensions).encode(texts)  # noqa: E731
        else:
            encode = work.encoder()
        encode(texts[:1])
        setup, began = time.perf_counter() - began, time.perf_counter()
        encode(texts)
        return Speed(setup, (time.perf_counter() - began) / len(texts), peak_memory(self.engine))


def estimate(plan: Plan, calibration: Calibration) -> list[Step]:
    """A line for each fit and all row-wise work of a plan, in the order in which they run.

    A fit that was made on other rows and serves all the same is in the engine's notes.
    """
    engine = calibration.engine
    steps = [_fit(fit, calibration) for fit in plan.fits]
    for words in plan.vocabularies:
        if engine.kept(words) is not None:
            engine.serving(words)  # which notes that the words are those of other rows
    return steps + [_rowwise(work, calibration) for work in works(engine, plan)]


def _rowwise(work: RowWork, calibration: Calibration) -> Step:
    missing = work.missing()
    if not len(missing) or (work.unit == "tokens" and not work.tokens(missing)):
        return Step(work.name(), 0, 0, 0.0, 0.0, 0)
    speed, tokens = calibration.speed(work), work.tokens(missing)
    seconds = speed.setup + speed.per_unit * work.amount(missing)
    return Step(work.name(len(missing)), len(missing), tokens, work.flops(tokens), seconds, speed.memory)


def _fit(fit: Fit, calibration: Calibration) -> Step:
    if calibration.engine.kept(fit) is not None:
        calibration.engine.serving(fit)  # which notes that it was made on other rows
        return Step(fit_name(fit), 0, 0, 0.0, 0.0, 0)
    return training(fit_name(fit), base_model(fit), fit.rows, fit.recipe, calibration)


def training(
    name: str, model: ModelSpec, rows: Rows | Subset, recipe: TrainConfig, calibration: Calibration, *, times: int = 1
) -> Step:
    """A line for `times` trainings by one recipe on these rows, or on so many tokens of them."""
    tokens = expected_tokens(recipe, calibration.engine.encodings(model, rows).lengths) * times
    speed = calibration.training(model, rows, recipe)
    seconds = speed.setup * times + speed.per_unit * tokens
    return Step(name, rows.size, tokens, full_flops(model, recipe, tokens), seconds, speed.memory)


def full_flops(model: ModelSpec, recipe: TrainConfig, tokens: int) -> float:
    """Of a training on so many tokens. What an adapter adds is left out."""
    size = parameter_count(model.folder())
    trainable, frozen = (size, 0) if recipe.adapter == "none" else (0, size)
    again, more = recipe.gradient_checkpointing, recipe.more_forwards
    return training_flops(trainable, frozen, tokens, gradient_checkpointing=again, more_forwards=more)


@dataclass(frozen=True)
class Worth:
    """FLOPs: of selecting, of one training on the selection, and of one on everything, by the same recipe."""

    select: float
    train: float
    everything: float

    @property
    def trainings(self) -> int | None:
        """How many trainings must use the selection before it has paid for itself; None when no number of them does."""
        return break_even(selection=self.select, on_selection=self.train, without=self.everything)


def worth(steps: Iterable[Step], engine: Engine, model: ModelSpec, rows: Rows, recipe: TrainConfig, limit: Limit) -> Worth:
    """Whether selecting within a limit is cheaper than training on everything, for as many epochs as the recipe has."""
    lengths = engine.encodings(model, rows).lengths
    share = min(1.0, limit.capacity / float(limit.costs.sum()))
    everything = full_flops(model, recipe, expected_tokens(recipe, lengths))
    return Worth(sum(step.flops for step in steps), everything if recipe.epochs is None else share * everything, everything)


def peak_memory(engine: Engine) -> int:
    """Bytes: on a GPU the most that was allocated there, else the most that this process ever held."""
    if resolve_device(engine.device).startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated())
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held if sys.platform == "darwin" else held * 1024


def _smallest(lengths: np.ndarray) -> np.ndarray:
    return np.argsort(lengths, kind="stable")[:2]


def typical(lengths: np.ndarray, batch_tokens: int, batches: int = CALIBRATION_BATCHES) -> np.ndarray:
    """Positions of the rows of a few whole batches, from those of short rows to those of long ones."""
    found = batches_by_length(lengths, batch_tokens)
    chosen = {int((i + 0.5) / batches * len(found)) for i in range(batches)}
    return np.concatenate([found[i] for i in sorted(chosen)])
