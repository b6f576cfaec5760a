"""Conversations as token ids with a loss mask: what passes, training and evaluation all read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa

from curate.errors import InputError

# One row as the store keeps it.
ENCODING_TYPE = pa.struct([("input_ids", pa.list_(pa.int32())), ("loss_mask", pa.list_(pa.bool_())), ("truncated", pa.bool_())])


@dataclass(frozen=True)
class Encodings:
    """Token ids and loss mask of n conversations, in the order of `row_ids`.

    input_ids[i]  int32 [T_i], the rendered conversation after truncation.
    loss_mask[i]  bool [T_i], True where the token is part of a reply (end-of-turn token included).
                  Aligned to the token itself: its probability comes from the logits one position earlier.
    truncated[i]  True where tokens were cut off to fit `max_length`.
    weights       row id -> float32 [T_i], how much each token counts in training, of the rows with a reply whose weight is
                  other than 0 and 1 (`curate.lm.weights`); 0 where the mask is False.
    """

    row_ids: Sequence[str]
    input_ids: Sequence[np.ndarray]
    loss_mask: Sequence[np.ndarray]
    truncated: np.ndarray
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.row_ids)

    @property
    def lengths(self) -> np.ndarray:
        """int64 [n], tokens per row."""
        return np.array([len(ids) for ids in self.input_ids], dtype=np.int64)

    @property
    def response_lengths(self) -> np.ndarray:
        """int64 [n], tokens per row that count in the loss."""
        return np.array([np.count_nonzero(mask) for mask in self.loss_mask], dtype=np.int64)

    def take(self, index: Sequence[int] | np.ndarray) -> "Encodings":
        """The rows at these positions, in this order (a position may repeat)."""
        return Encodings(
            [self.row_ids[i] for i in index],
            [self.input_ids[i] for i in index],
            [self.loss_mask[i] for i in index],
            self.truncated[np.asarray(index, dtype=np.int64)],
            self.weights,
        )

    def alone(self) -> "Encodings":
        """The same rows without the weights of others, to be sent to another process."""
        if not self.weights:
            return self
        own = {row_id: self.weights[row_id] for row_id in self.row_ids if row_id in self.weights}
        return replace(self, weights=own)

    def with_token_weights(self, scored: Sequence[np.ndarray]) -> "Encodings":
        """The same rows, every scored token counting so much in training, on top of the weights that are there.

        scored: float32 [R_i] per row, for the tokens that a pass scores. ValueError where the numbers do not fit.
        """
        own = self.token_weights()
        weights = {}
        for i, (row_id, mask, given) in enumerate(zip(self.row_ids, self.loss_mask, scored, strict=True)):
            where = scored_positions(mask)
            if len(where) != len(given):
                raise ValueError(f"row {row_id} has {len(where)} scored tokens and {len(given)} weights")
            row = np.zeros(len(mask), dtype=np.float32)
            row[where] = given if own is None else given * own[i][where]
            weights[row_id] = row
        return replace(self, weights={**self.weights, **weights})

    def token_weights(self) -> list[np.ndarray] | None:
        """float32 [T_i] of every row, 1 where a row has none of its own; None where no row has."""
        if not any(row_id in self.weights for row_id in self.row_ids):
            return None
        rows = zip(self.row_ids, self.input_ids, strict=True)
        ones = np.ones((), np.float32)
        return [self.weights[row_id] if row_id in self.weights else np.broadcast_to(ones, len(ids)) for row_id, ids in rows]


def scored_positions(mask: np.ndarray) -> np.ndarray:
    """int64 [R]: where the tokens are that a pass scores: those of replies, but for the first, which nothing predicts."""
    where = np.flatnonzero(mask)
    return where[where > 0]


def check_same_tokens(rows: Encodings, chosen: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Raises InputError where tokens were chosen on other token ids than the rows have. chosen: as `TokenLabels.rows` is."""
    for row_id, ids in zip(rows.row_ids, rows.input_ids, strict=True):
        if row_id in chosen and not np.array_equal(chosen[row_id][0], ids):
            raise InputError(
                f"the tokens of row {row_id} were chosen by another tokenizer, chat template or --max-length; "
                "choose them again with the model that is to be trained"
            )


def from_arrow(row_ids: Sequence[str], column: pa.ChunkedArray) -> Encodings:
    """Encodings from an Arrow column of ENCODING_TYPE without nulls."""
    input_ids: list[np.ndarray] = []
    loss_mask: list[np.ndarray] = []
    truncated = [np.zeros(0, dtype=bool)]
    for array in column.chunks:  # one by one: joined, more than 2^31 tokens would overflow the offsets
        for name, rows in (("input_ids", input_ids), ("loss_mask", loss_mask)):
            lists = array.field(name)
            flat = lists.values.to_numpy(zero_copy_only=False)
            rows += [flat[a:b] for a, b in pairwise(lists.offsets.to_pylist())]
        truncated.append(array.field("truncated").to_numpy(zero_copy_only=False).astype(bool))
    return Encodings(list(row_ids), input_ids, loss_mask, np.concatenate(truncated))


def highest_ids(column: pa.ChunkedArray) -> np.ndarray:
    """int64 [n]: the highest token id of each row of an Arrow column of ENCODING_TYPE, -1 for null."""
    highest = np.full(len(column), -1, dtype=np.int64)
    there = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    rows = from_arrow([""] * len(there), column.drop_null()).input_ids
    highest[there] = [int(ids.max(initial=-1)) for ids in rows]
    return highest
