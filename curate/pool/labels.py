"""Tokens of rows that were chosen one by one: which of a conversation's tokens count in training.

They are tied to the token ids that they were chosen on, so a model with another tokenizer refuses them.
"""

import functools
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import InputError

IGNORED = -100  # the label of a token that does not count, as trainers have it
SCHEMA = pa.schema(
    [
        ("row_id", pa.string()),
        ("input_ids", pa.list_(pa.int32())),
        ("labels", pa.list_(pa.int32())),
        ("weights", pa.list_(pa.float32())),
    ]
)


@dataclass(frozen=True, eq=False)
class TokenLabels:
    """row id -> (int32 [T] token ids, float32 [R] weights of its scored tokens, 0 leaves one out)."""

    rows: Mapping[str, tuple[np.ndarray, np.ndarray]]

    @functools.cached_property
    def fingerprint(self) -> str:
        """32 hex digits: the hash of the rows' ids, tokens and weights."""
        digest = hashlib.blake2b(digest_size=16)
        for row_id in sorted(self.rows):
            ids, weights = self.rows[row_id]
            digest.update(f"{row_id} {len(ids)} {len(weights)}".encode() + ids.tobytes() + weights.tobytes())
        return digest.hexdigest()

    def of(self, row_ids: Iterable[str]) -> "TokenLabels":
        """Those of some rows."""
        return TokenLabels({row_id: self.rows[row_id] for row_id in row_ids if row_id in self.rows})

    def write(self, path: Path, row_ids: Iterable[str], scored: Mapping[str, np.ndarray]) -> None:
        """A Parquet file of row_id, input_ids, labels and weights, in the order of the ids, each as often as it comes.

        labels  the token ids where a token counts, else -100: what TRL and other trainers take untouched.
        scored  int64 [R] of each row: where its scored tokens stand among its token ids.
        """
        columns: dict[str, list[object]] = {name: [] for name in SCHEMA.names}
        for row_id in row_ids:
            ids, weights = self.rows[row_id]
            labels, where = np.full(len(ids), IGNORED, np.int32), scored[row_id][weights > 0]
            labels[where] = ids[where]
            for name, value in zip(columns, (row_id, ids, labels, weights), strict=True):
                columns[name].append(value)
        pq.write_table(pa.table(columns, schema=SCHEMA), path, compression="zstd")


def write_pretokenised(tokens: Path, path: Path) -> int:
    """Of what `TokenLabels.write` wrote a Parquet file of input_ids, attention_mask (all 1) and labels, and nothing else.

    Gives the length of the longest row, in tokens.
    """
    table = pq.read_table(tokens, columns=["input_ids", "labels"]).combine_chunks()
    ids = table["input_ids"].combine_chunks()
    ones = pa.ListArray.from_arrays(ids.offsets, pa.array(np.ones(len(ids.values), np.int8)))
    pq.write_table(table.add_column(1, "attention_mask", ones), path, compression="zstd")
    return max((len(row) for row in ids), default=0)


def read_labels(path: Path) -> TokenLabels:
    """What `TokenLabels.write` wrote. InputError for a file that it did not write."""
    try:
        table = pq.read_table(path, schema=SCHEMA)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"the chosen tokens in {path} cannot be read: {' '.join(str(error).split())}") from None
    columns = (table[name].to_pylist() for name in ("row_id", "input_ids", "weights"))
    return TokenLabels(
        {row_id: (np.array(ids, np.int32), np.array(weights, np.float32)) for row_id, ids, weights in zip(*columns, strict=True)}
    )
