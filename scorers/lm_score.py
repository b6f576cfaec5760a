"""LM-Score: the probability with which the model itself says yes to questions about a row."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from curate.method import Cost, Data, Method
from curate.requests import Judge, Request
from curate.signals import RowScore, RowVector

ALIKE = 0.05  # standard deviation of scores, below which the model hardly tells rows apart
BEFORE = "Judge the following text. Answer each question with YES or NO only.\n\nText:\n"
QUESTIONS = {
    "math": (
        "Does the text show mathematical intelligence?",
        "Is the text suitable for learning mathematics from?",
    ),
    "reply": (
        "Is the assistant's reply correct and complete?",
        "Does the reply help with what the user asked for?",
    ),
}


class LMScore(Method):
    """Keep the rows of which the model itself says that they are of the wanted kind and of use.

    Score: p(yes) / (p(yes) + p(no)) of the next token behind a question about the row, multiplied over two questions, from 0 to
    1; all usual spellings of either answer count. `prompt=math` asks as the paper does for mathematics, `reply` whether the reply
    is right and helps. Source: AutoMathText, arXiv 2402.07625.
    """

    name: ClassVar[str] = "lm-score"
    paper: ClassVar[str] = "2402.07625"
    cost: ClassVar[Cost] = "forward"

    prompt: Literal["math", "reply"] = Field("math", description="what is asked about: use for mathematics, or the reply")
    question: str | None = Field(None, description="a question of your own instead, to be answered by yes or no")

    def _judge(self, data: Data) -> Judge:
        asked = (self.question,) if self.question else QUESTIONS[self.prompt]
        listed = "\n".join(f"{i}. {question}" for i, question in enumerate(asked, 1))
        first = f"\n\nQuestions:\n{listed}\n\nAnswers:\n1."
        more = tuple(f" YES\n{i}." for i in range(2, len(asked) + 1))
        return Judge(data.model, data.pool, BEFORE, (first, *more))

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """The model's log-odds of yes behind each question."""
        return [self._judge(data)]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> RowScore:
        """The product of the probabilities [n]."""
        odds: RowVector = seen[self._judge(data)]
        yes = 1 / (1 + np.exp(-odds.values.astype(np.float64)))
        return RowScore.of(yes.prod(axis=1), RowScore(np.where(odds.is_null, np.nan, 0.0), odds.reasons))

    def remarks(self, data: Data, signal: Any) -> list[str]:
        """What was asked, and whether the model tells rows apart at all."""
        said = [] if self.question or self.prompt != "math" else ["it asks about mathematics; prompt=reply asks about any reply"]
        there = signal.values[~signal.is_null]
        if len(there) and (spread := float(there.std())) < ALIKE:
            said.append(f"the model says nearly the same of all rows (standard deviation {spread:.2g}): its answers tell little")
        return said
