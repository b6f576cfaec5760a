"""Conversations as token ids with a loss mask: what passes, training and evaluation all read."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Encodings:
    """Token ids and loss mask of n conversations, in the order of `row_ids`.

    input_ids[i]  int32 [T_i], the rendered conversation after truncation.
    loss_mask[i]  bool [T_i], True where the token is part of a reply (end-of-turn token included).
                  Aligned to the token itself: its probability comes from the logits one position earlier.
    truncated[i]  True where tokens were cut off to fit `max_length`.
    """

    row_ids: Sequence[str]
    input_ids: Sequence[np.ndarray]
    loss_mask: Sequence[np.ndarray]
    truncated: np.ndarray

    def __len__(self) -> int:
        return len(self.row_ids)

    @property
    def lengths(self) -> np.ndarray:
        """int64 [n], tokens per row."""
        return np.array([len(ids) for ids in self.input_ids], dtype=np.int64)

    @property
    def response_lengths(self) -> np.ndarray:
        """int64 [n], tokens per row that count in the loss."""
        return np.array([int(mask.sum()) for mask in self.loss_mask], dtype=np.int64)

    def take(self, index: Sequence[int] | np.ndarray) -> "Encodings":
        """The rows at these positions, in this order (a position may repeat)."""
        return Encodings(
            [self.row_ids[i] for i in index],
            [self.input_ids[i] for i in index],
            [self.loss_mask[i] for i in index],
            self.truncated[np.asarray(index, dtype=np.int64)],
        )
