"""Overlap with evaluation sets, by runs of words on replies and on prompts, a template's own words left out.

*Common words.* Prompts made from one template share long runs of words and say nothing of each other; so do replies that
begin alike. A phrase (five words in a row) is common when it stands in many different prompts (or replies) of the pool and
the evaluation sets together: in at least ten and at least one in a thousand. The words that common phrases cover are left
out, on both sides of the comparison; what is left are a row's *distinctive* words. A prompt that is there again and again
word for word counts once, so copies do not make a prompt a template.

*Overlap.* A pool row overlaps an evaluation row where
- their replies share a run of `n` distinctive words, or their prompts do (13, as for GPT-3; Brown et al. 2020, appendix C);
- their prompts are the same word for word, with a distinctive word or of at least `n` words;
- their replies, too short to hold such a run, are the same word for word, and so are the distinctive words of their
  prompts: "yes" is no overlap, and "yes" to the same question under another template is.

Case, punctuation and spacing do not count. Nothing is sampled.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np

from curate import progress
from curate.errors import InputError
from curate.pool.pool import Pool
from curate.pool.words import Words, mixed, row_words, word_batches

RUN = 13  # words
PHRASE = 5  # words
COMMON_TEXTS = 10  # different prompts, or replies, that share a phrase
COMMON_SHARE = 0.001  # of all rows, where that is more
PROMPT, REPLY = 0, 1
_TABLE_BITS = 24  # a table of 64 MB, of which a small pool touches little


@dataclass(frozen=True)
class Overlap:
    """How much of one evaluation set the pool holds: counts of rows, the two sides apart."""

    name: str
    rows: int
    replies: int  # evaluation rows of which the reply overlaps with a pool row
    prompts: int
    pool_rows: int  # pool rows that overlap with the set


@dataclass(frozen=True)
class Found:
    """A pool row and the evaluation row that it overlaps. `side`: reply, prompt or both."""

    position: int
    evaluation: str  # the name of the set
    evaluation_position: int
    side: str
    text: str  # the longest run of words that the two share on that side


@dataclass(frozen=True)
class Contamination:
    """The overlaps of a pool with evaluation sets: `found` by position, one for each row, and the account of each set."""

    found: list[Found]
    overlaps: list[Overlap]


def decontaminate(pool: Pool, evaluations: Mapping[str, Pool], n: int = RUN) -> Contamination:
    """The rows of a pool that overlap with rows of evaluation sets. Raises InputError for `n` below PHRASE."""
    if n < PHRASE:
        raise InputError(f"a run of {n} words is too short to tell an overlap from chance; at least {PHRASE}")
    sets = _Sets(evaluations, pool, n)
    found: list[Found] = []
    with progress.task("look for evaluation rows", len(pool), "rows") as advance:
        for start, rows, said in word_batches(pool):
            for row, (reply, prompt) in sorted(sets.matches(said, rows).items()):
                found.append(sets.described(pool, start + row, reply, prompt))
            advance(rows)
    return Contamination(found, sets.overlaps(found))


class _Phrases:
    """In how many different texts (sides of rows) each phrase stands.

    Counted in two tables under two parts of the phrase's hash, of which the smaller count holds: a phrase is thought more
    common than it is only where both cells meet a common one, which is one in millions.
    """

    def __init__(self, pools: Sequence[Pool]) -> None:
        self._counts = np.zeros((2, 1 << _TABLE_BITS), dtype=np.int32)
        self.enough = max(COMMON_TEXTS, COMMON_SHARE * sum(map(len, pools)))
        seen: set[int] = set()
        for pool in pools:
            for _, rows, said in word_batches(pool):
                self._count(said, rows, seen)

    def _count(self, said: Words, rows: int, seen: set[int]) -> None:
        """Counts the texts of a batch that are not in `seen`, and puts them there."""
        text = said.row * 2 + said.reply
        totals = _sided(said.sums(text, 2 * rows)[0], np.arange(2 * rows) % 2)
        new = np.zeros(2 * rows, dtype=bool)
        for number, total in enumerate(totals.tolist()):
            if total not in seen:
                seen.add(total)
                new[number] = True
        phrases, at = self._of(said)
        of = text[said.message[at]]
        keys = np.sort((of.astype(np.uint64) << np.uint64(2 * _TABLE_BITS) | phrases)[new[of]])
        once = keys[np.concatenate([[True], keys[1:] != keys[:-1]])] if len(keys) else keys
        for counts, cells in zip(self._counts, self._cells(once), strict=True):
            np.add.at(counts, cells, 1)

    def distinctive(self, said: Words) -> Words:
        """The words that no common phrase covers."""
        phrases, at = self._of(said)
        found = np.minimum(*(counts[cells] for counts, cells in zip(self._counts, self._cells(phrases), strict=True)))
        at = at[found >= self.enough]
        edges = np.zeros(len(said.hashes) + 1, dtype=np.int64)
        np.add.at(edges, at, 1)
        np.add.at(edges, np.minimum(at + PHRASE, said.ends[said.message[at]]), -1)
        return said.without(np.cumsum(edges[:-1]) > 0)

    @staticmethod
    def _of(said: Words) -> tuple[np.ndarray, np.ndarray]:
        """The phrases of a batch, a short message one, with the side in the lowest bit; and the word each begins with."""
        phrases, at = said.grams(PHRASE, short=True)
        return _sided(phrases >> np.uint64(64 - 2 * _TABLE_BITS), said.reply[said.message[at]]), at

    @staticmethod
    def _cells(phrases: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mask = np.uint64((1 << _TABLE_BITS) - 1)
        return phrases & mask, phrases >> np.uint64(_TABLE_BITS) & mask


class _Sets:
    """All rows of the evaluation sets, laid end to end, by what a pool row is looked up with."""

    def __init__(self, evaluations: Mapping[str, Pool], pool: Pool, n: int) -> None:
        self.evaluations, self.n = dict(evaluations), n
        self.starts = np.concatenate([[0], np.cumsum([len(one) for one in evaluations.values()])]).astype(np.int64)
        self.phrases = _Phrases([*evaluations.values(), pool])
        self.touched = np.zeros((2, int(self.starts[-1])), dtype=bool)  # by side: evaluation rows that overlap
        keys: list[np.ndarray] = []
        owners: list[np.ndarray] = []
        for first, one in zip(self.starts.tolist(), self.evaluations.values(), strict=False):
            for start, rows, said in word_batches(one):
                for key, row in self._looked_up(said, rows):
                    keys.append(key)
                    owners.append(row + first + start)
        key, owner = np.concatenate(keys), np.concatenate(owners)
        order = np.lexsort((owner, key))
        self.keys, self.owners = key[order], owner[order]

    def _looked_up(self, said: Words, rows: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(keys, rows): runs of distinctive words, then whole prompts, then short replies with their prompts.

        The two lowest bits of a key say on which sides an overlap is that has this key.
        """
        left = self.phrases.distinctive(said)
        runs, at = left.grams(self.n, short=False)
        message = left.message[at]
        yield _flagged(runs, 1 << said.reply[message].astype(np.uint64)), said.row[message]

        side = said.row * 2 + said.reply
        whole, size = said.sums(side, 2 * rows)
        own, own_size = left.sums(side, 2 * rows)
        prompts = (own_size[::2] > 0) | (size[::2] >= self.n)
        yield _flagged(whole[::2], np.uint64(1 << PROMPT))[prompts], np.flatnonzero(prompts)
        short = (own_size[1::2] < self.n) & (own_size[::2] > 0) & (size[1::2] > 0)
        both = mixed(whole[1::2] * np.uint64(3) + own[::2])
        yield _flagged(both, np.uint64(1 << PROMPT | 1 << REPLY))[short], np.flatnonzero(short)

    def matches(self, said: Words, rows: int) -> dict[int, tuple[int, int]]:
        """For each row of a batch that overlaps: the evaluation row it overlaps on its reply and on its prompt, or -1."""
        matched: dict[int, tuple[int, int]] = {}
        for keys, row in self._looked_up(said, rows):
            first = np.searchsorted(self.keys, keys)
            last = np.searchsorted(self.keys, keys, side="right")
            for at in np.flatnonzero(last > first).tolist():
                reply, prompt = matched.get(int(row[at]), (-1, -1))
                owners = self.owners[first[at] : last[at]]
                if int(keys[at]) & 1 << REPLY:
                    self.touched[REPLY, owners] = True
                    reply = int(owners[0]) if reply < 0 else reply
                if int(keys[at]) & 1 << PROMPT:
                    self.touched[PROMPT, owners] = True
                    prompt = int(owners[0]) if prompt < 0 else prompt
                matched[int(row[at])] = (reply, prompt)
        return matched

    def described(self, pool: Pool, position: int, reply: int, prompt: int) -> Found:
        owner = reply if reply >= 0 else prompt
        name, there = self._place(owner)
        said, shared = (row_words(one, at, reply >= 0) for one, at in ((pool, position), (self.evaluations[name], there)))
        match = SequenceMatcher(None, said, shared, autojunk=False).find_longest_match()
        side = "both" if reply == prompt else "reply" if reply >= 0 else "prompt"
        return Found(position, name, there, side, " ".join(said[match.a : match.a + match.size]))

    def overlaps(self, found: list[Found]) -> list[Overlap]:
        accounts = []
        for number, (name, one) in enumerate(self.evaluations.items()):
            here = slice(self.starts[number], self.starts[number + 1])
            replies, prompts = (int(self.touched[side, here].sum()) for side in (REPLY, PROMPT))
            accounts.append(Overlap(name, len(one), replies, prompts, sum(row.evaluation == name for row in found)))
        return accounts

    def _place(self, owner: int) -> tuple[str, int]:
        number = int(np.searchsorted(self.starts, owner, side="right")) - 1
        return list(self.evaluations)[number], owner - int(self.starts[number])


def _sided(values: np.ndarray, reply: np.ndarray) -> np.ndarray:
    return values >> np.uint64(1) << np.uint64(1) | reply.astype(np.uint64)


def _flagged(values: np.ndarray, sides: np.ndarray | np.uint64) -> np.ndarray:
    return values >> np.uint64(2) << np.uint64(2) | sides
