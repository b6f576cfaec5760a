"""Arms: a selection, trained on and evaluated. Kept in the store, so that a comparison that was stopped goes on."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl

from curate.engine import Engine
from curate.evaluation.metric import Metric
from curate.evaluation.metrics import declare
from curate.evaluation.results import check_finite, read_items
from curate.evaluation.tasks import EVALUATE_VERSION, Task, evaluate
from curate.jobs import Kind as JobKind
from curate.lm.encodings import Encodings
from curate.lm.models import ModelSpec, forward_flops
from curate.lm.weights import WEIGHT_VERSION
from curate.requests import Fit, Rows, TokenWeights
from curate.store import hash_ids
from curate.training.config import TRAIN_VERSION, TrainConfig

Kind = Literal["random", "control", "method", "full", "ceiling", "untrained", "length-matched", "second rate"]


@dataclass(frozen=True)
class Arm:
    """One training of a comparison: which rows, how, and under which name it stands in the table.

    kind  random: what all are held against. control: another simple choice. method: a named one. full: everything, at equal
          tokens. ceiling: everything, for an epoch. untrained: the model as it is. length-matched: random rows with replies
          as long as those of the method `of`. second rate: an arm of the method `of` at another learning rate.
    """

    method: str
    budget: str
    seed: int
    positions: tuple[int, ...]  # rows of the pool, ascending
    recipe: TrainConfig | None  # None: the model as it is, untrained
    kind: Kind = "method"
    of: str | None = None
    tokens: TokenWeights | None = None  # of the rows, where a method chose tokens as well

    @property
    def name(self) -> str:
        return f"{self.method} {self.budget} seed {self.seed}"


@dataclass(frozen=True)
class ArmResult:
    """What came of an arm. account: tokens, loss_tokens, epochs, steps, seconds, flops of the training, evaluate_seconds,
    evaluate_tokens, evaluate_flops.

    items: a frame with task, row_id, source, value, weight, prediction (null where the model said nothing, and in what an
    older version kept); one row per evaluation item, in the task's order.
    """

    account: dict[str, float]
    items: pl.DataFrame

    def values(self, task: str) -> np.ndarray:
        """float64 [I]: the metric of each item of a task."""
        return self.items.filter(pl.col("task") == task)["value"].to_numpy()


@dataclass(frozen=True)
class ArmPiece:
    """The training and evaluation of an arm.

    spec    what the arm is kept under. remedy: what to do where its evaluation gives no finite number.
    recipe  of the training on `rows`; None where there is nothing to train.
    made    the folder and the account of a training that was made already; None with no recipe: the model as it is.
    metrics of the tasks, which a script may have declared that another process did not run.
    """

    name: str
    spec: Mapping[str, Any]
    model: ModelSpec
    tasks: tuple[tuple[Task, Encodings], ...]
    remedy: str
    recipe: TrainConfig | None
    rows: Encodings | None
    made: tuple[Path, dict[str, float]] | None
    metrics: tuple[Metric, ...]
    kind: ClassVar[JobKind] = "arm"

    def run(self, engine: Engine, advance: Callable[[int], None]) -> None:
        """Make the arm in the store, unless it is there."""
        for metric in self.metrics:
            declare(metric)
        engine.store.make("arms", self.spec, lambda folder: self.build(engine, folder))
        advance(1)

    def build(self, engine: Engine, folder: Path) -> None:
        """Train, evaluate, and leave the account and the items in a folder."""
        network, account = self.trained(engine)
        frames, seconds, tokens = [], 0.0, 0
        for task, rows in self.tasks:
            with engine.stage("evaluate", f"evaluate {self.name} on {task.name}") as stage:
                result = evaluate(network, engine.tokenizer(self.model), task, rows)
                stage.tokens = result.tokens
            check_finite(result, f"the arm {self.name}", self.remedy)
            seconds, tokens = seconds + stage.seconds, tokens + result.tokens
            frames.append(result.items())
        pl.concat(frames).write_parquet(folder / "items.parquet")
        (folder / "arm.json").write_text(json.dumps({**account, "evaluate_seconds": seconds, "evaluate_tokens": tokens}))

    def trained(self, engine: Engine) -> tuple[Any, dict[str, float]]:
        """The model that is evaluated, and what its training took."""
        if self.recipe is None or self.rows is None:
            nothing = {"tokens": 0, "loss_tokens": 0, "epochs": 0.0, "steps": 0, "seconds": 0.0, "flops": 0.0}
            folder, account = self.made or (None, nothing)
            return engine.load_plain(self.model, folder), account
        result = engine.train(self.model, self.rows, self.recipe, f"train {self.name}")
        # What is measured is the adapters, and not how coarse the weights were below them in training.
        base = (lambda: engine.load_plain(self.model)) if _coarse(self.recipe) else None
        return result.merged(base), result.account()


@dataclass(frozen=True)
class Bench:
    """What all arms of a comparison share: the model, the pool's rows, the tasks and their rows.

    repeats: int64 [n], how many times a row is trained on where it is picked.
    """

    engine: Engine
    model: ModelSpec
    rows: Rows
    tasks: Sequence[tuple[Task, Rows]]
    repeats: np.ndarray

    def trained_on(self, arm: Arm) -> np.ndarray:
        """int64: the rows of an arm, each as many times as it is trained on."""
        index = np.array(arm.positions, dtype=np.int64)
        return np.repeat(index, self.repeats[index])

    def width(self) -> int:
        """Entries of the hidden states, on which the default learning rate depends."""
        return int(self.engine.without_weights(self.model).get_input_embeddings().weight.shape[1])

    def spec(self, arm: Arm) -> dict[str, Any]:
        encodings = self.engine.encodings(self.model, self.rows)
        row_ids = encodings.row_ids
        weighted = any(row_ids[i] in encodings.weights for i in arm.positions)
        return {
            "kind": "arm",
            "version": [TRAIN_VERSION, EVALUATE_VERSION],
            "model": self.engine.model_hash(self.model),
            "encoding": self.engine.encoding_spec(self.model),
            "recipe": self.engine.recipe_spec(arm.recipe) if arm.recipe else None,
            "rows": hash_ids(row_ids[i] for i in self.trained_on(arm)),
            "tasks": [task.identity(rows.fingerprint) for task, rows in self.tasks],
            **({"weights": WEIGHT_VERSION} if weighted else {}),  # of messages, in the loss
            **({"labels": self.rows.labels} if self.rows.labels else {}),
            **({"tokens": arm.tokens.fingerprint} if arm.tokens else {}),
            **({"evaluated": "float32"} if arm.recipe and _coarse(arm.recipe) else {}),  # once it was as they were trained
        }

    def run(self, arm: Arm) -> ArmResult:
        """Train and evaluate an arm, or read it from the store."""
        spec = self.spec(arm)
        folder = self.engine.store.make("arms", spec, lambda temporary: self.work(arm).build(self.engine, temporary))
        account = json.loads((folder / "arm.json").read_text())
        if "evaluate_tokens" in account:
            account["evaluate_flops"] = forward_flops(self.model, account["evaluate_tokens"])
        return ArmResult(account, read_items(folder / "items.parquet"))

    def has(self, arm: Arm) -> bool:
        """Whether the store has it."""
        return self.engine.store.has("arms", self.spec(arm))

    def work(self, arm: Arm) -> ArmPiece:
        """What is to be done for an arm."""
        tasks = tuple((task, self.engine.encodings(self.model, rows)) for task, rows in self.tasks)
        metrics = tuple(task.how for task, _ in self.tasks)
        return ArmPiece(arm.name, self.spec(arm), self.model, tasks, _remedy(arm, self.model), *self._training(arm), metrics)

    def _training(self, arm: Arm) -> tuple[TrainConfig | None, Encodings | None, tuple[Path, dict[str, float]] | None]:
        """(recipe, rows, None) of what is to be trained, (None, None, folder and account) of what was, Nones for neither."""
        engine = self.engine
        if arm.recipe is None:
            return None, None, None
        fit = Fit(self.model, self.rows, arm.recipe)
        whole = len(arm.positions) == self.rows.size and arm.tokens is None
        if whole and self.may_serve(fit) and engine.store.has("fits", engine.fit_spec(fit)):
            # A method has made this very training already, as its reference.
            fitted = engine.fitted(fit)
            return None, None, (fitted.folder, fitted.account)
        encodings = engine.encodings(self.model, self.rows)
        if arm.tokens is not None:
            encodings = encodings.take(arm.positions).with_token_weights(arm.tokens.weights)
            encodings = encodings.take(np.repeat(np.arange(len(arm.positions)), self.repeats[list(arm.positions)]))
        else:
            encodings = encodings.take(self.trained_on(arm))
        return arm.recipe, encodings.alone(), None

    def may_serve(self, fit: Fit) -> bool:
        """Whether a fit on the whole pool, where there is one, is the arm on it: same rows, and weights kept in full."""
        return bool((self.repeats == 1).all()) and not _coarse(fit.recipe)


def _coarse(recipe: TrainConfig) -> bool:
    """Whether the weights below the adapters were rounded for the training."""
    return recipe.adapter == "lora" and recipe.dtype != "float32"


def _remedy(arm: Arm, model: ModelSpec) -> str:
    if arm.recipe is None:
        return f"the model {model.label} is damaged or cannot be used as it is"
    return "its training diverged: try a smaller learning rate (--learning-rate); the other arms are kept in the store"
