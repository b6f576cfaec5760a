"""A conversation's tokens as text again, neighbours that are marked alike together."""

from typing import Any

import numpy as np


def pieces(tokenizer: Any, input_ids: np.ndarray, marks: np.ndarray) -> list[tuple[str, Any]]:
    """[(text, mark), ...] of the runs of equal marks; input_ids and marks [T]."""
    cuts = [0, *(np.flatnonzero(np.diff(marks)) + 1).tolist(), len(marks)]
    return [(tokenizer.decode(input_ids[a:b]), marks[a].item()) for a, b in zip(cuts, cuts[1:]) if b > a]
