"""Metrics on what a model replies: its greedy answer to the messages before the last reply, beside that reply."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from curate.errors import CurateError, InputError
from curate.evaluation.metric import FRACTION, Measured, Metric, Run, refuse
from curate.evaluation.texts import TextScore
from curate.lm.observables import GENERATE_VERSION
from curate.versions import later_version

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from curate.evaluation.tasks import Task

REFERENCES = "references"  # the column of a row's accepted answers, beside its last reply


@dataclass(frozen=True)
class Question:
    """What a model is asked, and the replies that are right."""

    prompt: list[dict[str, Any]]
    references: list[str]


def split(task: "Task", position: int) -> Question | str:
    """The messages before the last reply, and that reply with the row's other references; or why there are none."""
    messages = task.pool.messages(position)
    last = max((i for i, message in enumerate(messages) if message["role"] == "assistant"), default=0)
    if last == 0:
        return "has no prompt with a reply"
    return Question(messages[:last], [messages[last].get("content") or ""])


def references(task: "Task") -> list[list[str]] | None:
    """The accepted answers of every row from the column of that name; None where the pool has no such column.

    Raises InputError for a column that is not of texts.
    """
    if REFERENCES not in task.pool.column_names:
        return None
    found = task.pool.column(REFERENCES).to_pylist()
    for i, given in enumerate(found):
        if given is not None and not (isinstance(given, list) and all(isinstance(text, str) for text in given)):
            raise refuse(task, i, f"has {REFERENCES} that are no list of texts")
    return [given or [] for given in found]


@dataclass(frozen=True)
class ReplyMetric(Metric):
    """A metric that lets the model reply. See `questions` for what it is asked."""

    settings: ClassVar[tuple[str, ...]] = ("extractor", "pattern", "max_new_tokens", "stop")
    stored: ClassVar[tuple[str, ...]] = ("extractor", "max_new_tokens")

    def questions(self, task: "Task", positions: Sequence[int]) -> list[Question | str]:
        """What each row asks, or why it asks nothing."""
        return [split(task, i) for i in positions]

    def score(self, task: "Task", position: int, question: Question, prediction: str) -> float:
        """The value of a row, from what the model said."""
        raise NotImplementedError

    @property
    def made_by(self) -> dict[str, int]:
        return later_version("generate", GENERATE_VERSION)

    def unusable(self, task: "Task", tokenizer: "PreTrainedTokenizerBase", limit: int) -> dict[str, str]:
        from curate.lm.chat import MaskError
        from curate.lm.generate import encode_prompts

        reasons = {}
        for i, question in enumerate(self.questions(task, range(len(task.pool)))):
            row_id = task.pool.row_ids[i]
            if isinstance(question, str):
                reasons[row_id] = question
                continue
            try:
                [ids] = encode_prompts(tokenizer, [question.prompt], [task.pool.tools(i)])
            except MaskError as error:
                reasons[row_id] = str(error)
                continue
            if len(ids) >= limit:
                reasons[row_id] = f"has a prompt of {len(ids):,} tokens, which leaves no room for a reply in {limit:,}"
        return reasons

    def measure(self, run: Run) -> Measured:
        from curate.lm.generate import cut_at, decode, encode_prompts, generate_ids, stop_ids

        task, asked = run.task, []
        for position, question in zip(run.positions, self.questions(run.task, run.positions), strict=True):
            if isinstance(question, str):
                raise refuse(task, position, question)
            asked.append(question)
        inputs = encode_prompts(run.tokenizer, [q.prompt for q in asked], [task.pool.tools(i) for i in run.positions])
        replies = generate_ids(
            run.model,
            inputs,
            stop=stop_ids(run.model, run.tokenizer),
            max_new_tokens=task.max_new_tokens,
            batch_tokens=run.batch_tokens,
            progress=run.progress,
        )
        said = [cut_at(text, task.stop) for text in decode(run.tokenizer, replies)]
        values = [self.score(task, i, q, text) for i, q, text in zip(run.positions, asked, said, strict=True)]
        tokens = sum(map(len, inputs)) + sum(map(len, replies))
        return Measured(np.array(values, dtype=np.float64), np.ones(len(values)), tokens, said)


@dataclass(frozen=True)
class TextMetric(ReplyMetric):
    """How near the reply comes to the reference that it comes nearest to, both by what the task's extractor finds in them.

    A reply in which nothing is found scores 0; a reference in which nothing is found does not count, and a row without
    another one cannot be measured. library: the package that does the sums; its version is part of the store's address.
    """

    unit: str = FRACTION
    bounded: bool = True
    compare: TextScore = field(kw_only=True, repr=False)
    library: str | None = None

    def __post_init__(self) -> None:
        if self.library is not None:
            try:
                object.__setattr__(self, "version", f"{self.library} {version(self.library)}")
            except PackageNotFoundError:
                object.__setattr__(self, "version", self.library)

    def columns(self, task: "Task") -> list[Any] | None:
        return references(task)

    def questions(self, task: "Task", positions: Sequence[int]) -> list[Question | str]:
        more = references(task)
        return [self._question(task, i, more[i] if more else []) for i in positions]

    def _question(self, task: "Task", position: int, more: list[str]) -> Question | str:
        question = split(task, position)
        if isinstance(question, str):
            return question
        answers = [task.extract(text) for text in dict.fromkeys([*question.references, *more])]
        found = [answer for answer in answers if answer is not None]
        return Question(question.prompt, found) if found else f"has no {task.extractor} answer in its reply"

    def score(self, task: "Task", position: int, question: Question, prediction: str) -> float:
        given = task.extract(prediction)
        return 0.0 if given is None else max(self.compare(given, reference) for reference in question.references)


@dataclass(frozen=True)
class FunctionMetric(ReplyMetric):
    """A user's metric: `function(prediction, row)` gives the value of a row, a finite number.

    row: the user's columns as they are, with `row_id`, canonical `messages` up to the reply as `prompt`, and the last reply
    as `reference`.
    """

    function: Callable[[str, dict[str, Any]], float] = field(kw_only=True, repr=False)

    settings: ClassVar[tuple[str, ...]] = ("max_new_tokens", "stop")
    stored: ClassVar[tuple[str, ...]] = ("max_new_tokens",)

    def __call__(self, prediction: str, row: Mapping[str, Any]) -> float:
        return self.function(prediction, dict(row))

    def columns(self, task: "Task") -> list[Any] | None:
        return list(task.pool.records())

    def score(self, task: "Task", position: int, question: Question, prediction: str) -> float:
        [record] = task.pool.records([position])
        more = {"row_id": task.pool.row_ids[position], "prompt": question.prompt, "reference": question.references[0]}
        try:
            value = float(self.function(prediction, {**record, **more}))
        except InputError:
            raise
        except Exception as error:  # a user's function may raise anything
            said = f"failed on row {more['row_id']} of {task.name}: {type(error).__name__}: {error}"
            raise CurateError(f"the metric {self.name} {said}") from error
        if not isfinite(value) or (self.bounded and not 0 <= value <= 1):
            wanted = "between 0 and 1" if self.bounded else "a finite number"
            raise CurateError(f"the metric {self.name} gave {value:g} for row {more['row_id']}, which is not {wanted}")
        return value
