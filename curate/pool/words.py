"""The words of conversations as numbers: what near-duplicates and overlaps are counted in, straight from Arrow.

A word is a run of letters and digits in any script, folded to lower case; where a script puts no spaces between words
(Chinese, Japanese, Thai, ...), each character is one. Punctuation, spacing and layout do not count.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.pool.gather import gather_table
from curate.pool.pool import Pool

BATCH_ROWS = 4096
_VOCABULARY = 1_000_000  # words kept in memory with their hashes
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_ASCII = {code: chr(code).lower() if chr(code).isalnum() else " " for code in range(128)}
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, bits well spread: the golden ratio


def words(text: str) -> list[str]:
    """The words of a text; where it has none (signs only), what stands between white space."""
    if text.isascii():  # nearly always, and four times as fast
        return text.translate(_ASCII).split() or text.split()
    text = unicodedata.normalize("NFKC", text).casefold()
    return _WORD.findall(text) or text.split()


@dataclass(frozen=True)
class Words:
    """The words of some rows, message by message.

    hashes  uint64 [w]: of each word
    ends    int64 [m]: where each message's words end
    row     int64 [m]: the message's row, counted from the first of those that were asked for
    reply   bool [m]: whether an assistant said it
    """

    hashes: np.ndarray
    ends: np.ndarray
    row: np.ndarray
    reply: np.ndarray

    @property
    def starts(self) -> np.ndarray:
        """int64 [m]: where each message's words begin."""
        return np.concatenate([[0], self.ends[:-1]]).astype(np.int64)

    @property
    def message(self) -> np.ndarray:
        """int64 [w]: the message that each word stands in."""
        return np.repeat(np.arange(len(self.ends)), self.ends - self.starts)

    def without(self, dropped: np.ndarray) -> "Words":
        """The same messages without the words that are marked. `dropped`: bool [w]."""
        kept = np.concatenate([[0], np.cumsum(~dropped)])
        return Words(self.hashes[~dropped], kept[self.ends], self.row, self.reply)

    def grams(self, n: int, *, short: bool) -> tuple[np.ndarray, np.ndarray]:
        """Hashes of all runs of n words inside a message, and the word that each begins with.

        short   a message of fewer than n words gives one run, of all that it has; otherwise none
        """
        end = np.repeat(self.ends, self.ends - self.starts)
        left = end - np.arange(len(self.hashes))
        begins = left >= n
        if short:
            first = self.starts[self.ends > self.starts]
            begins[first] = True
        at = np.flatnonzero(begins)
        found = np.zeros(len(at), dtype=np.uint64)
        for step in range(n):
            inside = at + step < end[at]
            word = self.hashes[np.minimum(at + step, len(self.hashes) - 1)]
            found = np.where(inside, mixed(found * _MULTIPLIER + word), found)
        return found, at

    def sums(self, group: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
        """For each group of messages: one hash of its words in their order, and how many they are. `group`: int64 [m]."""
        of = group[self.message]
        order = np.argsort(of, kind="stable")
        sizes = np.bincount(of, minlength=groups)
        place = np.arange(len(of)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        sums = np.zeros(groups, dtype=np.uint64)
        np.add.at(sums, of[order], mixed(self.hashes[order] + mixed(place.astype(np.uint64) * _MULTIPLIER)))
        return sums, sizes


def mixed(values: np.ndarray) -> np.ndarray:
    """Every bit of the result depends on every bit given (the finaliser of MurmurHash3, a bijection). uint64."""
    values = values ^ (values >> np.uint64(33))
    values = values * np.uint64(0xFF51AFD7ED558CCD)
    values = values ^ (values >> np.uint64(33))
    values = values * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


class _Hashes(dict[str, int]):
    """Word -> its hash, the same on every machine and in every version."""

    def __missing__(self, word: str) -> int:
        if len(self) >= _VOCABULARY:
            self.clear()
        digest = hashlib.blake2b(word.encode(errors="replace"), digest_size=8).digest()
        found = self[word] = int.from_bytes(digest, "little")
        return found


def word_batches(pool: Pool, positions: np.ndarray | None = None) -> Iterator[tuple[int, int, Words]]:
    """(first row, rows, their words) of the rows at these positions, a few thousand rows at a time."""
    hashes, start = _Hashes(), 0
    table = pool.rows.select(["messages"])
    if positions is not None:
        table = gather_table(table, positions)
    for batch in table.to_batches(max_chunksize=BATCH_ROWS):
        yield start, len(batch), _words(batch.column(0), hashes)
        start += len(batch)


def row_words(pool: Pool, position: int, reply: bool) -> list[str]:
    """The words that one side of one row says, message after message."""
    [batch] = pool.rows.select(["messages"]).slice(position, 1).to_batches()
    texts, _, replies = _texts(batch.column(0))
    return [word for text, said in zip(texts, replies.tolist(), strict=True) if said == reply for word in words(text)]


def _words(lists: pa.ListArray, hashes: _Hashes) -> Words:
    texts, row, reply = _texts(lists)
    found = [words(text) for text in texts]
    flat = np.fromiter(map(hashes.__getitem__, chain.from_iterable(found)), dtype=np.uint64)
    ends = np.cumsum(np.fromiter(map(len, found), dtype=np.int64, count=len(found)))
    return Words(flat, ends, row, reply)


def _texts(lists: pa.ListArray) -> tuple[list[str], np.ndarray, np.ndarray]:
    """What each message says: its content, and for a reply its reasoning and its calls too; its row; whether a reply."""
    messages = lists.flatten()
    texts: list[str] = messages.field("content").to_pylist()
    for name in ("reasoning_content", "tool_calls"):
        if messages.type.get_field_index(name) >= 0:
            more = messages.field(name).to_pylist()
            texts = [f"{text}\n{extra}" if extra else text for text, extra in zip(texts, more, strict=True)]
    sizes = lists.value_lengths().to_numpy(zero_copy_only=False)
    reply = pc.equal(messages.field("role"), "assistant").to_numpy(zero_copy_only=False)
    return texts, np.repeat(np.arange(len(lists)), sizes), reply
