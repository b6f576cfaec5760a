from collections.abc import Callable

import numpy as np
import pytest

from curate.pool import Pool
from curate.pool.words import Words, row_words, word_batches, words

from .conftest import chat


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("It's 3,000 km_h!", ["it", "s", "3", "000", "km", "h"]),
        ("Ünïcode STRASSE Straße", ["ünïcode", "strasse", "strasse"]),
        ("ﬁne ＡＢ１", ["fine", "ab1"]),  # ligatures and full width letters are the same letters
        ("東京 2020年", ["東", "京", "2020", "年"]),
        ("Привет, мир", ["привет", "мир"]),
        ("?! ...", ["?!", "..."]),
        ("\U0001f600 \U0001f601", ["\U0001f600", "\U0001f601"]),
        ("  ", []),
    ],
)
def test_words(text: str, wanted: list[str]) -> None:
    assert words(text) == wanted


def test_ascii_goes_the_same_way_as_any_text() -> None:
    text = "".join(chr(code) for code in range(128)) + " aB c_d 9x"
    assert words(text) == words(text + " é")[:-1]


def of(*messages: tuple[int, bool, list[int]]) -> Words:
    """Words from (row, reply, words)."""
    flat = np.array([word for _, _, said in messages for word in said], dtype=np.uint64)
    ends = np.cumsum([len(said) for _, _, said in messages])
    return Words(flat, ends, np.array([m[0] for m in messages]), np.array([m[1] for m in messages]))


def test_runs_stay_inside_a_message() -> None:
    said = of((0, False, [1, 2, 3, 4]), (0, True, [1, 2]), (1, False, []), (1, True, [2, 3, 4]))
    found, at = said.grams(3, short=False)
    assert at.tolist() == [0, 1, 6] and found[1] == found[2] != found[0]
    found, at = said.grams(3, short=True)
    assert at.tolist() == [0, 1, 4, 6] and len(set(found.tolist())) == 3
    assert said.message[at].tolist() == [0, 0, 1, 3]


def test_runs_are_their_words_in_order() -> None:
    rng = np.random.default_rng(0)
    said = of(*((row, False, rng.integers(1, 5, rng.integers(0, 9)).tolist()) for row in range(200)))
    for n in (1, 2, 4):
        by_hash: dict[int, set[tuple[int, ...]]] = {}
        by_run: dict[tuple[int, ...], set[int]] = {}
        for found, at in zip(*said.grams(n, short=True), strict=True):
            run = tuple(said.hashes[at : min(at + n, said.ends[said.message[at]])].tolist())
            by_hash.setdefault(int(found), set()).add(run)
            by_run.setdefault(run, set()).add(int(found))
        assert all(len(runs) == 1 for runs in by_hash.values()) and all(len(hashes) == 1 for hashes in by_run.values())


def test_sums_tell_words_and_their_order_apart_and_not_messages() -> None:
    said = of(
        (0, False, [1, 2]), (0, True, [9]), (0, False, [3]), (1, False, [1, 2, 3]), (2, False, [2, 1, 3]), (3, True, [1, 2, 3, 3])
    )
    sums, sizes = said.sums(said.row * 2 + said.reply, 8)
    assert sizes.tolist() == [3, 1, 3, 0, 3, 0, 0, 4]
    assert sums[0] == sums[2] and len({int(sums[at]) for at in (0, 1, 4, 7)}) == 4


def test_words_are_dropped_from_their_messages() -> None:
    said = of((0, False, [1, 2]), (0, True, [3]), (1, False, [4, 5]))
    left = said.without(np.array([True, True, False, False, True]))
    assert left.hashes.tolist() == [3, 4] and left.ends.tolist() == [0, 1, 2] and left.row.tolist() == [0, 0, 1]


def test_a_row_says_its_replies_calls_and_thoughts(read: Callable[..., Pool]) -> None:
    call = {"type": "function", "function": {"name": "add", "arguments": {"x": 1}}}
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Add."},
        {"role": "assistant", "content": "", "reasoning_content": "One call.", "tool_calls": [call]},
        {"role": "tool", "content": "2"},
        {"role": "assistant", "content": "Two"},
    ]
    pool = read([{"messages": turns}])
    assert row_words(pool, 0, reply=False) == ["be", "brief", "add", "2"]
    assert row_words(pool, 0, reply=True)[:2] == ["one", "call"] and row_words(pool, 0, reply=True)[-1] == "two"
    assert {"add", "arguments"} <= set(row_words(pool, 0, reply=True))


def test_batches_follow_the_rows(read: Callable[..., Pool]) -> None:
    pool = read([chat(f"q{i}", f"a{i} b") for i in range(9000)])
    seen = 0
    for start, rows, said in word_batches(pool):
        assert start == seen and len(said.hashes) == 3 * rows and said.row.max() == rows - 1
        seen += rows
    assert seen == 9000
    [(start, rows, said)] = word_batches(pool, np.array([5, 3]))
    assert (start, rows, said.reply.tolist()) == (0, 2, [False, True] * 2)
    [(_, _, other)] = word_batches(pool, np.array([3]))
    assert said.hashes[3:].tolist() == other.hashes.tolist()
