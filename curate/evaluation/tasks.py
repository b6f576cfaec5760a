"""Tasks: held-out conversations with a metric, and what a model scores on each of them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import orjson

from curate.errors import InputError
from curate.evaluation.extractors import Extractor, make_extractor
from curate.evaluation.metric import Metric, Run
from curate.evaluation.metrics import declare, find_metric
from curate.evaluation.results import EvalResult
from curate.lm.encodings import Encodings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from curate.pool import Pool

EVALUATE_VERSION = 1  # raise it when the same model and task would give other values


@dataclass(frozen=True)
class Task:
    """Held-out conversations and what is measured on each.

    metric          a name known to `curate.evaluation.metrics`, or a Metric, which is then known by its name.
    extractor       of metrics that compare a reply with a reference: how an answer is found in a text (`extractors.py`).
    max_new_tokens  of metrics that let the model reply: where a reply is cut off.
    stop            the same: texts before which a reply ends.
    pattern         the regular expression of the extractor `regex`.
    letters         of multiple choice: list the choices below the question, and let the model choose between their letters.

    Replies are greedy. Raises InputError for a metric or extractor that does not exist, and for a setting that the metric
    does not have.
    """

    name: str
    pool: "Pool"
    metric: str = "response_loss"
    extractor: str = "text"
    max_new_tokens: int = 256
    stop: tuple[str, ...] = ()
    pattern: str | None = None
    letters: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.metric, Metric):
            object.__setattr__(self, "metric", declare(self.metric).name)
        elif not isinstance(self.metric, str):
            raise InputError(
                f"task {self.name}: a metric of your own is declared with @curate.metric(version=1) above its "
                "function, so that the store can tell its results from others"
            )
        try:
            how = self.how
            for field in fields(self)[3:]:
                if getattr(self, field.name) != field.default and field.name not in how.settings:
                    known = f"; it has {', '.join(how.settings)}" if how.settings else ""
                    raise InputError(f"the metric {self.metric} has no setting {field.name}{known}")
            _ = self.extract
            if self.max_new_tokens < 1:
                raise InputError(f"max_new_tokens must be at least 1, not {self.max_new_tokens}")
            if isinstance(self.stop, str) or not all(self.stop):
                raise InputError(f"stop must be a tuple of texts that are not empty, not {self.stop!r}")
        except InputError as error:
            raise InputError(f"task {self.name}: {error}") from None

    @property
    def how(self) -> Metric:
        """The metric itself."""
        return find_metric(self.metric)

    @cached_property
    def extract(self) -> Extractor:
        """What finds the answer in a text."""
        return make_extractor(self.extractor, self.pattern)

    @classmethod
    def lm_eval(cls, path: Any, *, name: str | None = None, measure: str | None = None, chat_template: bool = False) -> "Task":
        """A task file of lm-eval, run by lm-eval itself; see `harness.py`.

        measure: which of the file's metrics; the first by default. chat_template: put the prompts into the model's.
        """
        from curate.evaluation.harness import read_task

        found, pool = read_task(path, measure, chat_template)
        return cls(name or found.task_name, pool, found)  # type: ignore[arg-type]

    def identity(self, rows: str) -> list[Any]:
        """What the values of a model on rows of this fingerprint depend on, as it stands in a store's address."""
        how = self.how
        given: dict[str, Any] = {
            field.name: getattr(self, field.name)
            for field in fields(self)[3:]
            if field.name not in how.stored and getattr(self, field.name) != field.default
        }
        if how.version is not None:
            given["version"] = how.version
        given |= how.made_by
        columns = how.columns(self)
        if columns is not None:
            lines = zip(self.pool.row_ids, columns, strict=True)
            text = orjson.dumps(list(lines), default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
            given["columns"] = blake2b(text, digest_size=16).hexdigest()
        always = [getattr(self, name) for name in how.stored]
        return [self.name, self.metric, rows, *always, *([given] if given else [])]

    def unusable(self, tokenizer: "PreTrainedTokenizerBase", limit: int) -> dict[str, str]:
        """Row id -> why its metric cannot be measured, whatever a model says. limit: tokens that a model reads at most."""
        return self.how.unusable(self, tokenizer, limit)


def evaluate(
    model: Any,
    tokenizer: "PreTrainedTokenizerBase",
    task: Task,
    encodings: Encodings,
    *,
    batch_tokens: int = 4096,
    progress: Callable[[int], None] | None = None,
) -> EvalResult:
    """The task's metric of a model on the rows of `encodings`, which are rows of the task.

    progress gets the number of tokens just done. Raises InputError when a row is not of the task, or cannot be
    evaluated by its metric (`Task.unusable` says beforehand which).
    """
    began = time.perf_counter()
    position = {row_id: i for i, row_id in enumerate(task.pool.row_ids)}
    strangers = [row_id for row_id in encodings.row_ids if row_id not in position]
    if strangers:
        raise InputError(f"task {task.name} has no row {strangers[0]}")
    positions = [position[row_id] for row_id in encodings.row_ids]
    found = task.how.measure(Run(model, tokenizer, task, positions, encodings, batch_tokens, progress))
    sources = task.pool.sources
    return EvalResult(
        task=task.name,
        metric=task.metric,
        row_ids=tuple(encodings.row_ids),
        sources=tuple(sources[i] for i in positions),
        values=found.values,
        weights=found.weights,
        seconds=time.perf_counter() - began,
        tokens=found.tokens,
        predictions=None if found.predictions is None else tuple(found.predictions),
    )
