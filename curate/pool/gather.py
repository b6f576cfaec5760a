"""Taking rows from Arrow chunks in any order, without ever joining all chunks (which overflows 32-bit offsets)."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa

BLOCK_ROWS = 32_768

Chunk: TypeAlias = "pa.Array | pa.Table"


def starts_of(chunks: Sequence[Chunk]) -> np.ndarray:
    """int64 [chunks + 1]: the position of each chunk's first row, and the total."""
    return np.concatenate([[0], np.cumsum([len(chunk) for chunk in chunks], dtype=np.int64)]).astype(np.int64)


def by_chunk(starts: np.ndarray, positions: np.ndarray) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """(chunk, where in `positions`, rows inside that chunk) for each chunk that `positions` touch."""
    owners = np.searchsorted(starts, positions, side="right") - 1
    order = np.argsort(owners, kind="stable")
    touched, first = np.unique(owners[order], return_index=True)
    return [
        (int(chunk), where, positions[where] - starts[chunk])
        for chunk, where in zip(touched, np.split(order, first[1:]), strict=True)
    ]


def gather(chunks: Sequence[pa.Array], positions: np.ndarray, type_: pa.DataType) -> pa.ChunkedArray:
    """The values at `positions` of the chunks (all of type `type_`) laid end to end."""
    starts = starts_of(chunks)
    blocks: list[pa.Array] = []
    pending = [positions[at : at + BLOCK_ROWS] for at in range(0, len(positions), BLOCK_ROWS)][::-1]
    while pending:
        block = pending.pop()
        try:
            blocks.append(_gather_block(chunks, starts, block))
        except pa.ArrowInvalid:  # more than 2 GiB of text in this block
            if len(block) == 1:
                raise
            half = len(block) // 2
            pending += [block[half:], block[:half]]
    return pa.chunked_array(blocks, type=type_)


def _gather_block(chunks: Sequence[pa.Array], starts: np.ndarray, positions: np.ndarray) -> pa.Array:
    parts = by_chunk(starts, positions)
    taken = pa.concat_arrays([chunks[chunk].take(pa.array(rows)) for chunk, _, rows in parts])
    back = np.empty(len(positions), dtype=np.int64)
    back[np.concatenate([where for _, where, _ in parts])] = np.arange(len(positions))
    return taken.take(pa.array(back))


def gather_table(table: pa.Table, positions: np.ndarray) -> pa.Table:
    """The rows of the table at `positions`, in that order."""
    columns = [gather(column.chunks, positions, column.type) for column in table.columns]
    return pa.table(columns, schema=table.schema)
