"""Tasks: held-out conversations with a metric, and what a model scores on each of them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from curate.errors import CurateError, InputError
from curate.evaluation.metrics import EXTRACTORS, exact_match
from curate.lm.encodings import Encodings
from curate.wording import counted

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from curate.pool import Pool

EVALUATE_VERSION = 1  # raise it when the same model and task would give other values
METRICS = ("response_loss", "exact_match")


@dataclass(frozen=True)
class Task:
    """Held-out conversations and what is measured on each.

    metric          response_loss: mean loss of the reply in nats per token, lower is better.
                    exact_match: 1 when the model's greedy answer is that of the last reply, else 0.
    extractor       exact_match only: how an answer is found in a text, a key of `metrics.EXTRACTORS`.
    max_new_tokens  exact_match only: where a reply of the model is cut off.

    Raises InputError for a metric or an extractor that does not exist.
    """

    name: str
    pool: "Pool"
    metric: Literal["response_loss", "exact_match"] = "response_loss"
    extractor: str = "text"
    max_new_tokens: int = 256

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise InputError(f"task {self.name}: metric {self.metric!r} is not one of {', '.join(METRICS)}")
        if self.extractor not in EXTRACTORS:
            raise InputError(f"task {self.name}: extractor {self.extractor!r} is not one of {', '.join(EXTRACTORS)}")


@dataclass(frozen=True)
class EvalResult:
    """A model's values on a task, one per row, in the order of the encodings.

    values   float64 [n]: nats per reply token (NaN where a reply has no token), or 1 and 0 for exact match.
    weights  float64 [n]: reply tokens for a loss, 1 for exact match.
    sources  name or None per row.
    seconds  wall time; tokens: those read, and written where replies are generated.
    """

    task: str
    metric: str
    row_ids: tuple[str, ...]
    sources: tuple[str | None, ...]
    values: np.ndarray
    weights: np.ndarray
    seconds: float
    tokens: int


def check_finite(result: EvalResult, model: str, remedy: str) -> EvalResult:
    """The result as it is. Raises CurateError naming the model where an item's value is not a finite number."""
    broken = int((~np.isfinite(result.values)).sum())
    if broken:
        items = f"{broken:,} of {counted(len(result.values), 'item')}"
        raise CurateError(f"{model}: the {result.metric} of {items} of {result.task} is not a finite number; {remedy}")
    return result


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
    evaluated by its metric.
    """
    began = time.perf_counter()
    position = {row_id: i for i, row_id in enumerate(task.pool.row_ids)}
    strangers = [row_id for row_id in encodings.row_ids if row_id not in position]
    if strangers:
        raise InputError(f"task {task.name} has no row {strangers[0]}")
    positions = [position[row_id] for row_id in encodings.row_ids]
    if task.metric == "response_loss":
        from curate.lm.forward import mean_losses

        if hasattr(model, "get_base_model"):
            model = model.get_base_model()  # of a peft wrapper; its layers still carry the adapters
        values, counts = mean_losses(model, encodings, batch_tokens=batch_tokens, progress=progress)
        weights, tokens = counts.astype(np.float64), int(encodings.lengths.sum())
    else:
        values, tokens = evaluate_exact_match(model, tokenizer, task, positions, batch_tokens=batch_tokens, progress=progress)
        weights = np.ones(len(values))
    sources = task.pool.sources
    return EvalResult(
        task=task.name,
        metric=task.metric,
        row_ids=tuple(encodings.row_ids),
        sources=tuple(sources[i] for i in positions),
        values=values,
        weights=weights,
        seconds=time.perf_counter() - began,
        tokens=tokens,
    )


def evaluate_exact_match(
    model: Any,
    tokenizer: "PreTrainedTokenizerBase",
    task: Task,
    positions: Sequence[int],
    *,
    batch_tokens: int = 4096,
    progress: Callable[[int], None] | None = None,
) -> tuple[np.ndarray, int]:
    """(float64 [n], 1 where the greedy answer is right and else 0; tokens read and written) of rows of the task.

    The model replies to the messages before the last reply. A reply in which no answer is found is wrong; a reference
    in which none is found is an InputError, as is a conversation without a prompt or a reply.
    """
    from curate.lm.generate import decode, encode_prompts, generate_ids, stop_ids

    extract = EXTRACTORS[task.extractor]
    prompts, references = [], []
    for i in positions:
        prompt, reference = _split(task, i)
        answer = extract(reference)
        if answer is None:
            raise InputError(f"task {task.name}: row {task.pool.row_ids[i]} has no {task.extractor} answer in its reply")
        prompts.append(prompt)
        references.append(answer)
    inputs = encode_prompts(tokenizer, prompts, [task.pool.tools(i) for i in positions])
    replies = generate_ids(
        model,
        inputs,
        stop=stop_ids(model, tokenizer),
        max_new_tokens=task.max_new_tokens,
        batch_tokens=batch_tokens,
        progress=progress,
    )
    answers = [extract(text) for text in decode(tokenizer, replies)]
    right = [given is not None and exact_match(given, true) for given, true in zip(answers, references, strict=True)]
    return np.array(right, dtype=np.float64), sum(map(len, inputs)) + sum(map(len, replies))


def _split(task: Task, i: int) -> tuple[list[dict[str, Any]], str]:
    """The messages before the last reply, and the reply."""
    messages = task.pool.messages(i)
    last = max((j for j, message in enumerate(messages) if message["role"] == "assistant"), default=0)
    if last == 0:
        raise InputError(f"task {task.name}: row {task.pool.row_ids[i]} has no prompt with a reply")
    return messages[:last], messages[last].get("content") or ""
