"""The embedded sample: what is committed is what the rules make, and it is what its README says."""

import ast
import contextlib
import importlib
import io
import json
import re
import subprocess
import sys
from collections import Counter
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

DATA = Path(__file__).parents[2] / "data"
SIZES = {"pool": 6000, "dev": 300, "test": 500}


@pytest.fixture(scope="module")
def rules() -> Any:
    sys.path.insert(0, str(DATA))
    try:
        return importlib.import_module("sample_rules.tables")
    finally:
        sys.path.remove(str(DATA))


@pytest.fixture(scope="module")
def made(rules: Any) -> Any:
    """The rows with the drafts they came from, by table."""
    return rules.build()


@pytest.fixture(scope="module")
def committed() -> dict[str, list[dict[str, Any]]]:
    return {name: pq.read_table(DATA / "sample" / f"{name}.parquet").to_pylist() for name in SIZES}


def planted(rows: Any, name: str | None) -> list[Any]:
    return [row for row in rows if row.planted == name]


def answered(made: Any, skill: str) -> list[tuple[str, str]]:
    """The last question and the reply of every untouched row of a skill."""
    rows = [row for table in made.values() for row in table if row.skill.name == skill and row.planted is None]
    return [(row.messages[-2]["content"], row.messages[-1]["content"]) for row in rows]


def prompt(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(message["content"] for message in row["messages"][:-1] if message["role"] != "system")


def test_another_process_writes_the_committed_tables(tmp_path: Path) -> None:
    script = str(DATA / "make_sample.py")
    printed = subprocess.run([sys.executable, script, "--out", str(tmp_path)], capture_output=True, check=True, text=True)
    assert "word_problem" in printed.stdout
    for name in SIZES:
        again = pq.read_table(tmp_path / f"{name}.parquet")
        assert again.equals(pq.read_table(DATA / "sample" / f"{name}.parquet")), name


def test_the_tests_look_at_the_committed_rows(made: Any, committed: dict[str, list[dict[str, Any]]], rules: Any) -> None:
    for name, rows in committed.items():
        assert rules.to_table(made[name]).to_pylist() == rows


def test_another_seed_gives_other_rows(rules: Any, made: Any) -> None:
    other = rules.build(rules.SEED + 1)
    assert {row.draft.turns for row in other["test"]} != {row.draft.turns for row in made["test"]}


def test_sizes_and_the_long_tail(committed: dict[str, list[dict[str, Any]]], rules: Any) -> None:
    assert {name: len(rows) for name, rows in committed.items()} == SIZES
    assert sum((DATA / "sample" / f"{name}.parquet").stat().st_size for name in SIZES) < 700_000
    pool = Counter(row["skill"] for row in committed["pool"])
    test = Counter(row["skill"] for row in committed["test"])
    assert set(pool) == set(test) == {skill.name for skill in rules.SKILLS}
    assert max(pool.values()) <= 0.2 * SIZES["pool"]
    assert sum(count < 0.01 * SIZES["pool"] for count in pool.values()) >= 4
    assert min(test.values()) >= 15
    clean = Counter(row["skill"] for row in committed["pool"] if row["planted"] is None)
    assert min(clean.values()) >= 25
    assert len({row["source"] for row in committed["pool"]}) == 6


def test_messages_are_conversations(committed: dict[str, list[dict[str, Any]]]) -> None:
    for row in (row for rows in committed.values() for row in rows):
        roles = [message["role"] for message in row["messages"]]
        if roles[0] == "system":
            roles = roles[1:]
        assert len(roles) % 2 == 0
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert (len(roles) > 2) == (row["source"] == "chat-turns")
        assert all(message["content"].strip() and "{text}" not in message["content"] for message in row["messages"])


def test_nothing_is_there_twice_or_on_both_sides(committed: dict[str, list[dict[str, Any]]], made: Any) -> None:
    rows = [row for table in committed.values() for row in table]
    assert len({row["id"] for row in rows}) == len(rows)
    assert len({json.dumps(row["messages"]) for row in rows}) == len(rows)
    assert len({prompt(row) for row in rows}) == len(rows)
    contents = {name: [(row.skill.name, row.draft.content) for row in table] for name, table in made.items()}
    held_out = contents["dev"] + contents["test"]
    assert len(set(held_out)) == len(held_out)
    assert not set(held_out) & set(contents["pool"])


def test_order_and_ids_do_not_tell_what_is_planted(committed: dict[str, list[dict[str, Any]]], rules: Any) -> None:
    pool = committed["pool"]
    assert [row["id"] for row in pool] == [f"pool-{place:04d}" for place in range(len(pool))]
    for name, count in rules.defects.COUNTS.items():
        first_half = sum(row["planted"] == name for row in pool[: len(pool) // 2])
        assert abs(first_half - count / 2) < 3 * (count / 4) ** 0.5, name
        by_source = Counter(row["source"] for row in pool if row["planted"] == name)
        assert len(by_source) == 6, name


def test_planted_counts(committed: dict[str, list[dict[str, Any]]], rules: Any) -> None:
    counts = Counter(row["planted"] for row in committed["pool"])
    assert {name: count for name, count in counts.items() if name} == rules.defects.COUNTS
    assert 0.22 <= 1 - counts[None] / SIZES["pool"] <= 0.25
    assert all(row["planted"] is None for name in ("dev", "test") for row in committed[name])
    assert all((row["near_duplicate_of"] is None) == (row["planted"] != "near-duplicate") for row in committed["pool"])


def test_untouched_rows_have_the_right_reply(made: Any) -> None:
    assert all(row.reply == row.draft.reply for table in made.values() for row in planted(table, None))


def test_wrong_differs_from_right(made: Any) -> None:
    assert all(row.reply == row.draft.wrong != row.draft.reply for row in planted(made["pool"], "wrong"))


def test_swapped_is_the_right_reply_to_another_skill(made: Any) -> None:
    rows = planted(made["pool"], "swapped")
    owners: dict[str, set[str]] = {}
    for row in rows:
        owners.setdefault(row.draft.reply, set()).add(row.skill.name)
    assert sorted(row.reply for row in rows) == sorted(row.draft.reply for row in rows)
    assert all(row.reply != row.draft.reply and owners[row.reply] - {row.skill.name} for row in rows)


def test_truncated_is_the_beginning_of_the_right_reply(made: Any) -> None:
    for row in planted(made["pool"], "truncated"):
        assert row.draft.reply.startswith(row.reply)
        assert 0.2 < len(row.reply) / len(row.draft.reply) <= 0.7


def test_boilerplate_answers_nothing(made: Any) -> None:
    replies = [row.reply for row in planted(made["pool"], "boilerplate")]
    assert len(set(replies)) > 60
    assert not set(replies) & {row.reply for row in planted(made["pool"], None)}


def test_rambling_buries_the_right_reply(made: Any) -> None:
    for row in planted(made["pool"], "rambling"):
        assert row.draft.reply in row.reply
        assert 60 <= len(row.reply.replace(row.draft.reply, "", 1).split()) <= 150


def test_near_duplicates_are_close_to_an_untouched_row(committed: dict[str, list[dict[str, Any]]]) -> None:
    by_id = {row["id"]: row for row in committed["pool"]}
    originals = [by_id[row["near_duplicate_of"]] for row in committed["pool"] if row["near_duplicate_of"]]
    copies = [row for row in committed["pool"] if row["near_duplicate_of"]]
    assert len({row["id"] for row in originals}) == len(originals)
    for original, copy in zip(originals, copies, strict=True):
        assert original["planted"] is None
        assert original["skill"] == copy["skill"]
        assert original["messages"][-1] == copy["messages"][-1]
        assert prompt(original) != prompt(copy)
        core, edited = (sorted(" ".join(prompt(row)).split()) for row in (original, copy))
        assert SequenceMatcher(None, core, edited).ratio() > 0.5


def test_sums_are_right(made: Any) -> None:
    checked = 0
    for _, reply in answered(made, "word_problem"):
        results = re.findall(r"(\d+) ([-+x/]) (\d+) = (\d+)", reply)
        for left, sign, right, result in results:
            a, b = int(left), int(right)
            assert {"+": a + b, "-": a - b, "x": a * b, "/": a / b}[sign] == int(result), reply
        checked += bool(results)
        assert not results or results[-1][3] in reply.rsplit("=", 1)[1]
    assert checked > 500


def test_extracted_records_parse_and_come_from_the_text(made: Any) -> None:
    for question, reply in answered(made, "extraction_json"):
        record = json.loads(reply)
        assert len(record) >= 2
        for key, value in record.items():
            assert key in question
            assert str(value).lower() in question.lower()


def test_lists_are_sorted(made: Any) -> None:
    for question, reply in answered(made, "sorting"):
        shown = reply.removeprefix("The order is ").rstrip(".").split(": ")[-1]
        items = shown.split("\n") if "\n" in shown else shown.split(", ")
        assert len(items) >= 4
        backwards = "descending" in question or "reverse" in question
        keys: list[Any] = [int(item) for item in items] if items[0].isdigit() else items
        assert keys == sorted(keys, reverse=backwards), reply
        assert all(item in question for item in items)


def test_programs_print_what_the_reply_says(made: Any) -> None:
    wordings = "It prints |The output is |You will see |The final output is |It will write "
    for row in (row for table in made.values() for row in planted(table, None)):
        if row.skill.name == "code_reading":
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(ast.parse(row.draft.content), "sample", "exec"), {})
            said = re.fullmatch(rf"(?:{wordings})(.*)\.", row.reply)
            assert (said[1] if said else row.reply) == printed.getvalue().strip()
