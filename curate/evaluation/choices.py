"""Multiple choice by likelihood: the model's choice is the reply that it would most likely give."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from curate.errors import CurateError
from curate.evaluation.metric import SHARE, Measured, Metric, Run, refuse
from curate.pool.choices import ANSWERS, Choices, read_choices
from curate.pool.reasons import Unusable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from curate.evaluation.tasks import Task

NO_LIMIT = 1 << 30


@dataclass(frozen=True)
class MultipleChoice(Metric):
    """1 where the right choice is the likeliest reply, else 0; of equals the first is the model's choice.

    A choice's likelihood is that of the whole reply in the model's chat format, end of turn included, so that a choice
    that is the beginning of another is no likelier for it. The prompt is what comes before the last reply.

    per_byte  divide the log-likelihood by the choice's bytes (UTF-8), so that longer choices are not at a disadvantage.
    The task's `letters`: list the choices below the question, and let the model choose between their letters.
    Source: the accuracies of lm-eval (acc, acc_norm), which score a choice without the end of turn.
    """

    name: str = "multiple_choice"
    unit: str = SHARE
    bounded: bool = True
    per_byte: bool = False

    settings: ClassVar[tuple[str, ...]] = ("letters",)

    def columns(self, task: "Task") -> list[Any] | None:
        names = [task.pool.column_for("choices"), *(task.pool.column_for(name) for name in ANSWERS)]
        return [[record.get(name) for name in names] for record in task.pool.records()]

    def unusable(self, task: "Task", tokenizer: "PreTrainedTokenizerBase", limit: int) -> dict[str, str]:
        from curate.lm.encode import encode_rows

        reasons = {}
        for i, (row_id, choices) in enumerate(zip(task.pool.row_ids, _choices(task, range(len(task.pool))), strict=True)):
            if isinstance(choices, str):
                reasons[row_id] = choices
                continue
            rows = encode_rows(tokenizer, ((messages, task.pool.tools(i)) for messages in replies(task, i, choices)), limit)
            failed = next((row.reason for row in rows if row.reason), None)
            if failed or any(row.truncated for row in rows):
                reasons[row_id] = failed or f"is longer with one of its choices than {limit:,} tokens"
        return reasons

    def measure(self, run: Run) -> Measured:
        likelihoods, found, tokens = log_likelihoods(run)
        values, said = [], []
        for choices, logp in zip(found, likelihoods, strict=True):
            texts = replied(run.task, choices)
            sizes = np.array([len(text.encode()) for text in texts]) if self.per_byte else 1.0
            chosen = int(np.argmax(logp / sizes))
            values.append(float(chosen == choices.right))
            said.append(texts[chosen])
        return Measured(np.array(values), np.ones(len(values)), tokens, said)


def log_likelihoods(run: Run) -> tuple[list[np.ndarray], list[Choices], int]:
    """The log-probability of each choice of each row, in nats, float64; the choices; tokens read."""
    from curate.lm.encode import encode_rows
    from curate.lm.encodings import Encodings
    from curate.lm.forward import traces

    task, found, rows = run.task, [], []
    for position, choices in zip(run.positions, _choices(task, run.positions), strict=True):
        if isinstance(choices, str):
            raise refuse(task, position, choices)
        encoded = encode_rows(run.tokenizer, ((m, task.pool.tools(position)) for m in replies(task, position, choices)), NO_LIMIT)
        failed = next((row.reason for row in encoded if row.reason), None)
        if failed:
            raise refuse(task, position, failed)
        found.append(choices)
        rows += encoded
    ids = [f"{task.pool.row_ids[i]}, choice {c}" for i, choices in zip(run.positions, found, strict=True) for c in choices.texts]
    encodings = Encodings(ids, [r.input_ids for r in rows], [r.loss_mask for r in rows], np.zeros(len(rows), bool))
    sums = np.empty(len(rows))
    for at, trace in traces(run.network, encodings, batch_tokens=run.batch_tokens, progress=run.progress):
        if isinstance(trace, str):
            raise CurateError(f"row {ids[at]}: {trace}")
        sums[at] = trace["logp"].sum(dtype=np.float64)
    cuts = np.cumsum([len(choices.texts) for choices in found])[:-1]
    return np.split(sums, cuts), found, int(encodings.lengths.sum())


def replies(task: "Task", position: int, choices: Choices) -> Iterator[list[dict[str, Any]]]:
    """The row's conversation once for each choice as its last reply, the only one that counts."""
    messages = task.pool.messages(position)
    last = max(i for i, message in enumerate(messages) if message["role"] == "assistant")
    prompt = [{**m, "weight": 0} if m["role"] == "assistant" else m for m in messages[:last]]
    texts = replied(task, choices)
    if task.letters:
        listed = "\n".join(f"{letter}. {text}" for letter, text in zip(texts, choices.texts, strict=True))
        asked = max(i for i, message in enumerate(prompt) if message["role"] != "assistant")
        prompt[asked] = {**prompt[asked], "content": f"{prompt[asked]['content']}\n{listed}"}
    for text in texts:
        yield [*prompt, {"role": "assistant", "content": text}]


def replied(task: "Task", choices: Choices) -> list[str]:
    """What the model would reply for each choice: its text, or its letter."""
    return [chr(ord("A") + i) for i in range(len(choices.texts))] if task.letters else choices.texts


def _choices(task: "Task", positions: Any) -> Iterator[Choices | str]:
    """The choices of the rows at these positions, or why one has none."""
    column, answers = task.pool.column_for("choices"), [task.pool.column_for(name) for name in ANSWERS]
    for position, record in zip(positions, task.pool.records(list(positions)), strict=True):
        if not any(m["role"] == "assistant" for m in task.pool.messages(position)):
            yield "has no reply"
            continue
        try:
            choices = read_choices(record, column, answers)
        except Unusable as fault:
            yield f"cannot be used: {fault}"
            continue
        if task.letters and len(choices.texts) > 26:
            yield f"has {len(choices.texts)} choices, more than there are letters"
            continue
        yield choices
