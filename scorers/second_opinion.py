"""Whether a model thinks a reply right, by its own yes or no: a row's own, or another in its place."""

from collections.abc import Sequence

import numpy as np

from curate.lm.models import ModelSpec
from curate.requests import Instead, Judge, Rows, Subset
from curate.signals import RowScore, RowVector

BEFORE = "Judge the last reply of the following conversation. Answer with YES or NO only.\n\nConversation:\n"
RIGHT = "\n\nQuestion: Is the last reply of the assistant right?\nAnswer:"
SAME = "\n\nQuestion: Do the two replies say the same?\nAnswer:"
BETWEEN = "\n\nAnother reply to the same question:\n\n"


def right(model: ModelSpec, rows: Rows | Subset, replies: Sequence[str | None] | None = None) -> Judge:
    """Whether the last reply of each row is right; with `replies`, whether these would be."""
    return Judge(model, rows, BEFORE, (RIGHT,), instead=None if replies is None else Instead(replies))


def same(model: ModelSpec, rows: Rows | Subset, own: Sequence[str | None], replies: Sequence[str | None]) -> Judge:
    """Whether these replies say what the rows' own do."""
    both = [None if a is None or b is None else f"{a}{BETWEEN}{b}" for a, b in zip(own, replies, strict=True)]
    return Judge(model, rows, BEFORE, (SAME,), instead=Instead(both))


def chance(odds: np.ndarray) -> np.ndarray:
    """float64: the probability that log-odds stand for; NaN stays."""
    return 1 / (1 + np.exp(-odds.astype(np.float64)))


def better(new: RowVector, own: RowVector) -> np.ndarray:
    """float64 [n]: the confidence that the new reply is better, the logistic function of the difference of log-odds (Bradley and
    Terry), so that the order in which two replies stand cannot matter. NaN where either was not judged."""
    return chance(new.values[:, 0].astype(np.float64) - own.values[:, 0].astype(np.float64))


def known(reasons: np.ndarray) -> RowScore:
    """0 for each row that there is an answer of, null for the reason that there is none of the others."""
    return RowScore(np.where([why is None for why in reasons], 0.0, np.nan), reasons)


def worth_saying(text: str | None) -> str | None:
    """A reply as it may stand in place of another: without white space around it, None where nothing is left."""
    return (text or "").strip() or None
