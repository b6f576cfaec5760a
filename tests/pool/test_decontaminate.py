"""Known answers: what was planted is found, what only a template or a common phrase shares is not."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from curate.errors import InputError
from curate.pool import Pool, read_pool
from curate.pool.decontaminate import Found, decontaminate
from curate.pool.words import words

from .conftest import chat

TEMPLATE = "In this task you are given one sentence from a review of a film and have to say whether it is POS or NEG :"
VOCABULARY = [f"w{i}" for i in range(4000)]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Pool]:
    def make(records: list[dict], name: str) -> Pool:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return read_pool(path)

    return make


@pytest.fixture
def found(make: Callable[..., Pool]) -> Callable[..., dict[str, Found]]:
    """What of some records overlaps with evaluation records, by the record's `name`; 200 strangers are in the pool too."""

    def look(records: list[dict], evaluation: list[dict], **options: int) -> dict[str, Found]:
        strangers = [chat(text(30, 900 + i), text(40, 2000 + i), name=f"stranger {i}") for i in range(200)]
        pool = make([*records, *strangers], "pool")
        names = pool.column("name").to_pylist()
        return {names[one.position]: one for one in decontaminate(pool, {"test": make(evaluation, "test")}, **options).found}

    return look


def text(size: int, seed: int) -> str:
    return " ".join(np.random.default_rng(seed).choice(VOCABULARY, size, replace=False)).capitalize() + "."


def shuffled_signs(said: str) -> str:
    return re.sub(r" ", ", ", said).replace(".", "?!") + " --"


PROMPT, REPLY = text(25, 1), text(40, 2)


@pytest.mark.parametrize("change", [str, str.lower, str.upper, shuffled_signs, lambda said: f"{text(20, 3)}\n\n{said}\n{text(9, 4)}"],
                         ids=["verbatim", "lower case", "upper case", "punctuation", "embedded"])  # fmt: skip
def test_planted_contamination_is_found(change: Callable[[str], str], found: Callable[..., dict[str, Found]]) -> None:
    records = [
        chat(change(PROMPT), text(30, 5), name="prompt"),
        chat(text(30, 6), change(REPLY), name="reply"),
        chat(change(PROMPT), change(REPLY), name="both"),
    ]
    result = found(records, [chat(PROMPT, REPLY), chat(text(20, 7), text(20, 8))])
    assert {name: one.side for name, one in result.items()} == {"prompt": "prompt", "reply": "reply", "both": "both"}
    assert result["prompt"].text == " ".join(words(PROMPT)) and result["reply"].text == " ".join(words(REPLY))


def test_half_of_a_reply_is_enough_and_twelve_words_are_not(found: Callable[..., dict[str, Found]]) -> None:
    said = REPLY.split()
    records = [
        chat(text(9, 1), f"{text(9, 2)} {' '.join(said[10:23])} {text(9, 3)}", name="13"),
        chat(text(9, 4), f"{text(9, 5)} {' '.join(said[10:22])} {text(9, 6)}", name="12"),
    ]
    result = found(records, [chat(PROMPT, REPLY)])
    assert set(result) == {"13"} and result["13"].text == " ".join(said[10:23])
    assert set(found(records, [chat(PROMPT, REPLY)], n=12)) == {"12", "13"}


def test_sides_are_kept_apart(found: Callable[..., dict[str, Found]]) -> None:
    assert not found([chat(REPLY, PROMPT, name="swapped")], [chat(PROMPT, REPLY)])


def films(start: int, count: int, template: str = TEMPLATE) -> list[dict]:
    return [chat(f"{template} {text(6, start + i)}", ["POS", "NEG"][i % 2], name=f"film {start + i}") for i in range(count)]


def test_a_template_is_no_overlap(found: Callable[..., dict[str, Found]]) -> None:
    assert not found(films(10_000, 60), films(20_000, 20))


def test_a_templates_content_is(found: Callable[..., dict[str, Found]]) -> None:
    """The same short sentence in the same template; in another template only where the reply is the same too."""
    other = [{**film, "name": f"other {film['name']}"} for film in films(20_000, 40, "Tell me now if people like this or not ,")]
    other[1]["messages"][1]["content"] = "POS"  # NEG in the evaluation set
    long = chat(f"{TEMPLATE} {text(20, 7)}", "POS")
    records = [*films(10_000, 60), *films(20_001, 1), *other[:2], *films(30_000, 40, "Tell me now if people like this or not ,"),
               {**chat(f"Guess : {text(20, 7)}", "no idea"), "name": "long"}]  # fmt: skip
    records += [chat(f"{TEMPLATE} {text(6, 20_004)}", "No idea.", name="same prompt, other reply")]
    result = found(records, [*films(20_000, 20), long])
    sides = {name: one.side for name, one in result.items()}
    assert sides == {"film 20001": "prompt", "other film 20000": "both", "long": "prompt", "same prompt, other reply": "prompt"}


def test_short_replies_need_the_prompt(found: Callable[..., dict[str, Found]]) -> None:
    records = [chat(text(8, 1), "It is 42.", name="other prompt"), chat(text(8, 2), "It is 43.", name="other reply"),
               chat(text(8, 2).upper() + "!", "it is 42", name="same")]  # fmt: skip
    result = found(records, [chat(text(8, 2), "It is 42."), chat(text(8, 3), "It is 42.")])
    assert {name: one.side for name, one in result.items()} == {"same": "both", "other reply": "prompt"}


def test_copies_do_not_make_a_template(found: Callable[..., dict[str, Found]]) -> None:
    """One evaluation prompt fifty times over, with replies of its own each time, is fifty overlaps."""
    records = [chat(PROMPT, text(20, 100 + i), name=f"copy {i}") for i in range(50)]
    assert len(found(records, [chat(PROMPT, REPLY)])) == 50


def test_a_common_ending_of_replies_is_no_overlap(found: Callable[..., dict[str, Found]]) -> None:
    ending = "I hope that this answer helps you and do not hesitate to ask me if you have more questions"
    records = [chat(text(20, 100 + i), f"{text(8, 200 + i)} {ending}", name=f"polite {i}") for i in range(40)]
    assert not found(records, [chat(text(20, 1), f"{text(8, 2)} {ending}")])


def test_later_turns_count(found: Callable[..., dict[str, Found]]) -> None:
    turns = [*chat(text(9, 1), text(9, 2))["messages"], *chat(PROMPT, REPLY)["messages"]]
    result = found([{"messages": turns, "name": "late"}], [chat(PROMPT, REPLY)])
    assert result["late"].side == "both"


def test_the_overlap_of_each_set_is_measured(make: Callable[..., Pool]) -> None:
    pool = make([chat(text(20, i), text(20, 100 + i)) for i in range(30)], "pool")
    one = make([chat(text(20, i), text(20, 500 + i)) for i in range(28, 40)], "one")
    two = make([chat(text(20, 600 + i), text(20, 100 + i)) for i in range(27, 30)], "two")
    result = decontaminate(pool, {"one": one, "two": two})
    shares = [(o.name, o.rows, o.replies, o.prompts, o.pool_rows) for o in result.overlaps]
    assert shares == [("one", 12, 0, 2, 0), ("two", 3, 3, 0, 3)]
    assert [(f.evaluation, f.side) for f in result.found] == [("two", "reply")] * 3
    for one_found in result.found:
        evaluation = {"one": one, "two": two}[one_found.evaluation]
        assert one_found.text == " ".join(words(evaluation.messages(one_found.evaluation_position)[1]["content"]))


def test_runs_against_brute_force(make: Callable[..., Pool]) -> None:
    """Random texts over few words, where runs of five meet by chance; none is common at these counts."""
    rng = np.random.default_rng(5)

    def some(count: int) -> list[dict]:
        return [chat(*(" ".join(rng.choice(VOCABULARY[:9], rng.integers(14, 40))) for _ in range(2))) for _ in range(count)]

    def runs(said: str) -> set[tuple[str, ...]]:
        every = said.split()
        return {tuple(every[at : at + 6]) for at in range(len(every) - 5)}

    pool, evaluation = make(some(60), "pool"), make(some(4), "test")
    wanted = {
        i
        for i in range(len(pool))
        for j in range(len(evaluation))
        for side in (0, 1)
        if runs(pool.messages(i)[side]["content"]) & runs(evaluation.messages(j)[side]["content"])
    }
    found = {one.position for one in decontaminate(pool, {"test": evaluation}, n=6).found}
    assert found == wanted and 0 < len(wanted) < 60


def test_too_short_a_run_is_refused(make: Callable[..., Pool]) -> None:
    with pytest.raises(InputError, match="a run of 3 words is too short"):
        decontaminate(make([chat()], "pool"), {"test": make([chat()], "test")}, n=3)


def test_real_splits(shared_data: Path) -> None:
    """A real test set put into its training set is found, all of it, and beside it few rows."""
    files = [shared_data / "gsm8k" / f"{name}.parquet" for name in ("train", "test")]
    pool, test = read_pool(files), read_pool(files[1])
    result = decontaminate(pool, {"test": test})
    from_train = sum(pool.rows["file"][one.position].as_py() == str(files[0]) for one in result.found)
    assert 0 < from_train < 0.002 * len(pool) and len(result.found) == from_train + len(test)
    [overlap] = result.overlaps
    assert overlap.prompts == len(test) and overlap.replies > 0.9 * len(test)
