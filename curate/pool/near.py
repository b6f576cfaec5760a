"""Near-duplicates: conversations that say almost the same, found by MinHash and checked exactly.

Compared are sets of three-word runs (shingles) of what is said, the two sides marked. Words rather than characters: a
word is what an edit changes, and a set of words is a fifth of the size. Three: replies are often a line long, where five
words in a row leave nothing to compare, and single words would take two questions on one subject for one.

The similarity of two conversations is the smaller of two Jaccard indices, of all they say and of the replies alone: a
passage with two questions on it, or a question with two answers, is two examples.

Broder (1997), On the resemblance and containment of documents; Leskovec, Rajaraman and Ullman, Mining of Massive
Datasets, chapter 3. The sketches are rensa's.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from curate import progress
from curate.errors import InputError
from curate.pool.pool import Pool
from curate.pool.words import BATCH_ROWS, word_batches

SHINGLE = 3  # words
HASHES = 128  # of a sketch
RECALL = 0.999  # of pairs at the threshold, at least
SLACK = 0.2  # over four standard errors of a sketch's estimate: below the threshold by that much is not looked at
_SEED = 1
_GRAM_BITS = 64 - (BATCH_ROWS - 1).bit_length()  # a row of a batch and a shingle stand in one number, so that one sort does


@dataclass(frozen=True)
class Near:
    """Rows left out, the row that stays for each, and how near the two are. All [k], `left_out` ascending."""

    left_out: np.ndarray  # int64, positions in the pool
    kept: np.ndarray  # int64, positions; each smaller than the one left out, so its row id is
    similarity: np.ndarray  # float64, at least the threshold


def near_duplicates(pool: Pool, threshold: float = 0.8) -> Near:
    """The rows that are as near as `threshold` to one that stays.

    In the order of row ids a row stays unless it is near to one that stays: no two rows that stay are near to each other
    (but for the pairs that the sketches miss, less than 1 in 1,000 at the threshold), and no row is left out for the sake
    of a chain of likenesses. Nothing is drawn at random: equal pools give equal answers.

    Raises InputError for a threshold that is not above 0 and at most 1.
    """
    if not 0 < threshold <= 1:
        raise InputError(f"the threshold of near-duplicates must be above 0 and at most 1, not {threshold:g}")
    sets, sketches = _sets_and_sketches(pool)
    row, bucket = _buckets(sketches, _band_rows(threshold))
    kept = np.full(len(pool), -1, dtype=np.int64)
    similarity = np.ones(len(pool))
    gone = np.zeros(len(pool), dtype=bool)
    while len(row):
        leads = np.concatenate([[True], bucket[1:] != bucket[:-1]])
        follows = np.bincount(row[~leads], minlength=len(pool)) > 0
        leader = row[np.flatnonzero(leads)[np.cumsum(leads) - 1]]  # of each entry's bucket: its smallest row
        stays = ~follows[leader]  # nothing before it can take it out
        pairs = np.unique(np.stack([leader, row])[:, stays & ~leads], axis=1)
        for one, other, found in _verified(pairs, sets, sketches, threshold):
            if not gone[other] or found > similarity[other]:
                kept[other], similarity[other], gone[other] = one, found, True
        open_ = follows[row] & ~gone[row]
        row, bucket = _shared(row[open_], bucket[open_])
    left_out = np.flatnonzero(gone)
    return Near(left_out, kept[left_out], similarity[left_out])


@dataclass(frozen=True)
class _Sets:
    """The shingles of each row, ascending, the lowest bit set in those of replies."""

    grams: np.ndarray  # uint64
    starts: np.ndarray  # int64 [n + 1]

    def similarity(self, one: int, other: int) -> float:
        a, b = (self.grams[self.starts[at] : self.starts[at + 1]] for at in (one, other))
        both = np.intersect1d(a, b, assume_unique=True)
        replies, shared = int((a & 1).sum()) + int((b & 1).sum()), int((both & 1).sum())
        return min(_share(len(both), len(a) + len(b)), _share(shared, replies))


def _share(shared: int, sizes: int) -> float:
    return shared / (sizes - shared) if sizes else 1.0


def _sets_and_sketches(pool: Pool) -> tuple[_Sets, np.ndarray]:
    import rensa

    grams: list[np.ndarray] = []
    sizes: list[np.ndarray] = []
    sketches = np.empty((len(pool), HASHES), dtype=np.uint32)
    with progress.task("compare what rows say", len(pool), "rows") as advance:
        for start, rows, said in word_batches(pool):
            found, at = said.grams(SHINGLE, short=True)
            message = said.message[at]
            marked = found >> np.uint64(64 - _GRAM_BITS) & ~np.uint64(1) | said.reply[message].astype(np.uint64)
            keys = np.sort(said.row[message].astype(np.uint64) << np.uint64(_GRAM_BITS) | marked)
            keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]  # np.unique takes four times as long
            batch = keys & np.uint64((1 << _GRAM_BITS) - 1)
            size = np.bincount((keys >> np.uint64(_GRAM_BITS)).astype(np.int64), minlength=rows)
            offsets = np.concatenate([[0], np.cumsum(size)]).astype(np.uint64)
            sketch = rensa.RMinHash.digest_matrix_from_flat_token_hashes(batch, offsets, HASHES, _SEED)
            sketches[start : start + rows] = sketch.to_rows()
            grams.append(batch)
            sizes.append(size)
            advance(rows)
    starts = np.concatenate([[0], np.cumsum(np.concatenate(sizes))]).astype(np.int64)
    return _Sets(np.concatenate(grams), starts), sketches


def _band_rows(threshold: float) -> int:
    """The most rows a band can have while pairs at the threshold still share a band almost surely."""
    return max((rows for rows in range(1, HASHES + 1) if 1 - (1 - threshold**rows) ** (HASHES // rows) >= RECALL), default=1)


def _buckets(sketches: np.ndarray, band_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """(row, bucket) of every row that shares a bucket with another, by bucket and row; int64 [entries]."""
    rows: list[np.ndarray] = []
    buckets: list[np.ndarray] = []
    for band in range(HASHES // band_rows):
        columns = np.ascontiguousarray(sketches[:, band * band_rows : (band + 1) * band_rows])
        keys = columns.view(np.dtype((np.void, columns.dtype.itemsize * band_rows))).ravel()
        _, bucket = np.unique(keys, return_inverse=True)
        order = np.argsort(bucket, kind="stable")
        row, bucket = _shared(order, bucket[order])
        rows.append(row)
        buckets.append(bucket + band * len(sketches))
    return np.concatenate(rows), np.concatenate(buckets)


def _shared(row: np.ndarray, bucket: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The entries of buckets that hold more than one row. `bucket` is ascending."""
    same = bucket[1:] == bucket[:-1]
    more = np.zeros(len(bucket), dtype=bool)
    more[1:] |= same
    more[:-1] |= same
    return row[more], bucket[more]


def _verified(pairs: np.ndarray, sets: _Sets, sketches: np.ndarray, threshold: float) -> Iterator[tuple[int, int, float]]:
    """(one, other, similarity) of the pairs, [2, k], that are as near as the threshold by their exact similarity."""
    for at in range(0, pairs.shape[1], BATCH_ROWS):
        some = pairs[:, at : at + BATCH_ROWS]
        likely = (sketches[some[0]] == sketches[some[1]]).mean(axis=1) >= threshold - SLACK
        for one, other in some[:, likely].T.tolist():
            similarity = sets.similarity(one, other)
            if similarity >= threshold:
                yield one, other, similarity
