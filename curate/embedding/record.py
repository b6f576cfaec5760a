"""Embedding the rows of a pool that lack a vector, shard by shard, into the store."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from curate.embedding.texts import text_of
from curate.lm.views import NOTHING_TO_SEE
from curate.store import RowArtifact

if TYPE_CHECKING:
    from curate.pool import Pool

EMBED_VERSION = 1  # raise it when the same text or conversation would get another vector
SHARD = 2_000  # rows; what a killed run loses at most

Encode = Callable[[Sequence[str]], list[np.ndarray | str]]


def pool_texts(pool: "Pool", view: str) -> Iterator[str]:
    """The text of each row in a view. Row ids are hashes, so this order is as good as random."""
    return (text_of(pool.messages(i), view) for i in range(len(pool)))


def record(
    encode: Encode, pool: "Pool", view: str, missing: np.ndarray, artifact: RowArtifact, progress: Callable[[int], None]
) -> None:
    """Embed rows of a pool; null with a reason where there is no text, or `encode` gives a reason.

    missing  int64, positions of the rows to embed. Shards are cut over all rows, so a run that was killed goes on with the
             same ones; each is kept as soon as it is done.
    """
    for part in np.split(missing, np.flatnonzero(np.diff(missing // SHARD)) + 1):
        began = time.perf_counter()
        texts = [text_of(pool.messages(int(i)), view) for i in part]
        found: list[np.ndarray | str] = [NOTHING_TO_SEE] * len(part)
        there = [i for i, text in enumerate(texts) if text]
        for i, vector in zip(there, encode([texts[i] for i in there]), strict=True):
            found[i] = vector
        values = [None if isinstance(one, str) else one for one in found]
        reasons = [one if isinstance(one, str) else None for one in found]
        artifact.put([pool.row_ids[i] for i in part], values, reasons, time.perf_counter() - began)
        progress(len(part))
