"""Against brute force: all pairs, sets of words, no hashing."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from curate.errors import InputError
from curate.pool import Pool, read_pool
from curate.pool.near import near_duplicates
from curate.pool.words import words

from .conftest import chat

THRESHOLD = 0.8


def shingles(texts: list[str]) -> set[tuple[str, ...]]:
    said = [words(text) for text in texts]
    return {tuple(run[at : at + 3]) for run in said if run for at in range(max(1, len(run) - 2))}


def jaccard(one: set, other: set) -> float:
    return len(one & other) / len(one | other) if one | other else 1.0


def sides(messages: list[dict]) -> tuple[set, set]:
    """The shingles of all that is said, the replies marked, and of the replies alone."""
    prompt, reply = (shingles([m["content"] for m in messages if (m["role"] == "assistant") == side]) for side in (False, True))
    return {(0, run) for run in prompt} | {(1, run) for run in reply}, reply


def all_pairs(pool: Pool) -> dict[tuple[int, int], float]:
    """The similarity of every two rows that have any."""
    said = [sides(pool.messages(i)) for i in range(len(pool))]
    return {
        (i, j): min(jaccard(said[i][0], said[j][0]), jaccard(said[i][1], said[j][1]))
        for i, j in itertools.combinations(range(len(pool)), 2)
        if said[i][1] & said[j][1]
    }


def brute_force(pairs: dict[tuple[int, int], float], threshold: float) -> tuple[dict[tuple[int, int], float], set[int]]:
    """The near pairs, and the rows left out in the order of row ids."""
    near = {pair: found for pair, found in pairs.items() if found >= threshold}
    out: set[int] = set()
    for j in range(1 + max((j for _, j in near), default=0)):
        if any((i, j) in near and i not in out for i in range(j)):
            out.add(j)
    return near, out


def edited(text: str, edits: int, rng: np.random.Generator) -> str:
    """The text with words replaced, dropped or added."""
    said = text.split()
    for _ in range(edits):
        at = int(rng.integers(len(said)))
        new = [[f"x{rng.integers(10**6)}"], [], [said[at], "again"]][rng.integers(3)]
        said[at : at + 1] = new if len(said) > 2 else [*new, "more"]
    return " ".join(said)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """300 rows: families of one text with few and with many edits, chains of edits, and strangers."""
    import json

    rng = np.random.default_rng(3)
    vocabulary = [f"w{i}" for i in range(3000)]
    rows = []
    for family in range(45):
        prompt, reply = (" ".join(rng.choice(vocabulary, rng.integers(4, 60))) for _ in range(2))
        for member in range(5):
            rows.append(chat(edited(prompt, member, rng), edited(reply, int(rng.integers(0, 3)), rng), family=family))
        if family % 3 == 0:  # each near to the one before, the last far from the first
            for _ in range(5):
                prompt, reply = edited(prompt, 2, rng), edited(reply, 1, rng)
                rows.append(chat(prompt, reply, family=family))
    path = tmp_path_factory.mktemp("near") / "pool.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_pool(path)


@pytest.fixture(scope="module")
def pairs(planted: Pool) -> dict[tuple[int, int], float]:
    return all_pairs(planted)


@pytest.mark.parametrize(("threshold", "at_least"), [(0.3, 150), (0.5, 130), (0.8, 40), (0.95, 1), (1.0, 0)])
def test_exact_against_brute_force(planted: Pool, pairs: dict, threshold: float, at_least: int) -> None:
    near, out = brute_force(pairs, threshold)
    found = near_duplicates(planted, threshold)
    assert set(found.left_out.tolist()) == out and len(out) >= at_least
    for kept, left, likeness in zip(found.kept.tolist(), found.left_out.tolist(), found.similarity.tolist(), strict=True):
        assert kept not in out and planted.row_ids[kept] < planted.row_ids[left]
        assert likeness == pytest.approx(near[kept, left], abs=1e-12) and likeness >= threshold


def test_no_row_is_left_out_for_a_chain(pairs: dict) -> None:
    """Single links would leave out rows that are far from the one that stays; here each is near to it."""
    near, out = brute_force(pairs, THRESHOLD)
    linked = {j for _, j in near}
    assert out < linked  # so the planted chains do tell the two apart


def test_equal_hashes_of_whole_rows_would_not_do(planted: Pool) -> None:
    texts = [" ".join(words(str(planted.messages(i)))) for i in range(len(planted))]
    assert len(set(texts)) > len(planted) - 5 and len(near_duplicates(planted).left_out) > 40


def test_nothing_below_the_threshold_goes(read: Callable[..., Pool]) -> None:
    passage = " ".join(f"word{i}" for i in range(80))
    records = [
        chat(f"{passage} Who came first?", "Anna came first of all."),
        chat(f"{passage} Who came last?", "It was Bert in the end."),  # one passage, two questions
        chat("Say hello.", "Hello."), chat("Say hello.", "Hi there."),  # one question, two answers
        chat("What is 2 + 3?", "5"), chat("What is 1 + 4?", "5"),  # one answer, two questions
    ]  # fmt: skip
    assert len(near_duplicates(read(records)).left_out) == 0


@pytest.mark.parametrize(
    "other",
    [
        chat("name THE largest planet, of our solar system", "Jupiter is the largest planet."),
        chat("Name the largest planet of our solar system.", "Jupiter is  the\nlargest planet"),
        {"question": "Name the largest planet of our solar system!", "answer": "JUPITER: is the largest planet"},
    ],
)  # fmt: skip
def test_case_punctuation_and_layout_do_not_count(other: dict, read: Callable[..., Pool]) -> None:
    pool = read([chat("Name the largest planet of our solar system.", "Jupiter is the largest planet."), other])
    found = near_duplicates(pool)
    assert (found.left_out.tolist(), found.kept.tolist(), found.similarity.tolist()) == ([1], [0], [1.0])


def test_what_stands_for_a_reply_counts(read: Callable[..., Pool]) -> None:
    def calling(city: str) -> dict:
        call = {"type": "function", "function": {"name": "weather", "arguments": {"city": city}}}
        turns = [{"role": "user", "content": "What is the weather like where I live today?"}]
        return {"messages": [*turns, {"role": "assistant", "content": "", "tool_calls": [call]}]}

    pool = read([calling("Bonn"), calling("New Brunswick on the river"), calling("Bonn!")])
    assert len(near_duplicates(pool).left_out) == 1


def test_many_rows_of_one_template(read: Callable[..., Pool]) -> None:
    """A bucket of hundreds that are not near to each other is gone through, and the copies in it are found."""
    template = "Decide whether the sentence below is positive or negative and say so in one word please"
    records = [chat(f"{template} {' '.join(f't{i}x{k}' for k in range(12))}", "positive") for i in range(300)]
    records += [chat(record["messages"][0]["content"] + " now", "positive") for record in records[:20]]
    found = near_duplicates(read(records))
    assert len(found.left_out) == 20 and found.similarity.min() > 0.9


def test_the_same_every_time(planted: Pool) -> None:
    one, other = near_duplicates(planted), near_duplicates(planted)
    assert all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("left_out", "kept", "similarity"))
    part = planted.take(np.arange(0, len(planted), 2))  # chunks of another shape, the same rows
    assert set(near_duplicates(part).left_out.tolist()) == brute_force(all_pairs(part), THRESHOLD)[1]


@pytest.mark.parametrize("threshold", [0.0, -1, 1.01, float("nan")])
def test_a_threshold_outside_0_to_1_is_refused(threshold: float, read: Callable[..., Pool]) -> None:
    with pytest.raises(InputError, match="above 0 and at most 1"):
        near_duplicates(read([chat()]), threshold)


def test_a_pool_of_one(read: Callable[..., Pool]) -> None:
    assert len(near_duplicates(read([chat()])).left_out) == 0


def test_planted_in_real_data(shared_data) -> None:
    """Of 500 rows planted as near-duplicates all but two are near (at 0.8) to some row, which one of the two leaves."""
    pool = read_pool(shared_data / "mixed" / "pool_planted.parquet")
    found = near_duplicates(pool)
    planted = pool.column("planted").to_pylist()
    pairs = [{planted[at] for at in pair} for pair in zip(found.left_out.tolist(), found.kept.tolist(), strict=True)]
    assert sum("near-duplicate" in pair for pair in pairs) > 450 and len(pairs) < 800
