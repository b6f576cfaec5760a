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
_SEED = 1
_GRAM_BITS = 64 - (BATCH_ROWS - 1).bit_length()  # a row (or pair) of a batch and a shingle are one number, so one sort does


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
        met = stays & ~leads
        pairs = np.stack(np.divmod(np.unique(leader[met] * len(pool) + row[met]), len(pool)))
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

    grams: np.ndarray  # uint64, of _GRAM_BITS bits
    starts: np.ndarray  # int64 [n]: where each row's begin
    sizes: np.ndarray  # int64 [2, n]: how many a row has, and how many of them are of replies

    def similarity(self, pairs: np.ndarray) -> np.ndarray:
        """float64 [k]: exact, of at most BATCH_ROWS pairs of rows, int64 [2, k]."""
        keys = np.sort(np.concatenate([self._keys(rows) for rows in pairs]))
        both = keys[1:][keys[1:] == keys[:-1]]  # a row says each shingle once, so what is there twice both rows say
        pair, in_reply = (both >> np.uint64(_GRAM_BITS)).astype(np.int64), (both & np.uint64(1)).astype(bool)
        shared = np.stack([np.bincount(of, minlength=pairs.shape[1]) for of in (pair, pair[in_reply])])
        sizes = self.sizes[:, pairs].sum(axis=1) - shared
        return np.where(sizes > 0, shared / np.maximum(sizes, 1), 1.0).min(axis=0)

    def _keys(self, rows: np.ndarray) -> np.ndarray:
        """The shingles of these rows, with the number of the row above them."""
        sizes = self.sizes[0, rows]
        inside = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        number = np.repeat(np.arange(len(rows), dtype=np.uint64), sizes)
        return number << np.uint64(_GRAM_BITS) | self.grams[np.repeat(self.starts[rows], sizes) + inside]


def _sets_and_sketches(pool: Pool) -> tuple[_Sets, np.ndarray]:
    import rensa

    grams: list[np.ndarray] = []
    sizes: list[np.ndarray] = []
    replies: list[np.ndarray] = []
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
            replies.append(np.bincount((keys[keys & np.uint64(1) > 0] >> np.uint64(_GRAM_BITS)).astype(np.int64), minlength=rows))
            advance(rows)
    both = np.stack([np.concatenate(sizes), np.concatenate(replies)])
    return _Sets(np.concatenate(grams), np.cumsum(both[0]) - both[0], both), sketches


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
    """(one, other, similarity) of the pairs, int64 [2, k], that are as near as the threshold by their exact similarity.

    Not looked at are pairs that their sketches put below the threshold by four standard errors.
    """
    least = threshold - 4 * (threshold * (1 - threshold) / HASHES) ** 0.5
    for at in range(0, pairs.shape[1], BATCH_ROWS):
        some = pairs[:, at : at + BATCH_ROWS]
        some = some[:, (sketches[some[0]] == sketches[some[1]]).mean(axis=1) >= least]
        similarity = sets.similarity(some)
        near = similarity >= threshold
        yield from zip(*some[:, near].tolist(), similarity[near].tolist(), strict=True)
