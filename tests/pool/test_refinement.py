"""What is left out and what is repeated: the account always adds up, and the rows left out are on disk."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate.errors import InputError
from curate.pool import Pool, kept_repeats, read_pool, refine, write_left_out, write_rows

from .conftest import chat


def text(size: int, seed: int) -> str:
    return " ".join(np.random.default_rng(seed).choice([f"w{i}" for i in range(900)], size))


@pytest.fixture
def pool(read: Callable[..., Pool]) -> Pool:
    """40 rows of four sources; of each five one has a near-duplicate; one exact duplicate, one row that cannot be used."""
    rows = [chat(text(20, i), text(20, 100 + i), source=["a", "b", "c", None][i % 4], id=f"r{i}") for i in range(32)]
    rows += [chat(text(20, i) + " indeed", text(20, 100 + i), source="d", id=f"n{i}") for i in range(0, 40, 5) if i < 32]
    return read([*rows, rows[0], "oops"])


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    path = tmp_path / "eval.jsonl"
    path.write_text("".join(json.dumps(chat(text(20, i), text(9, 999))) + "\n" for i in (1, 2, 5)))
    return path


def adds_up(pool: Pool) -> dict[str, int]:
    counts = pool.report.counts
    assert counts["rows_in"] == sum(counts.values()) - counts["rows_in"] and counts["rows_pool"] == len(pool)
    return counts


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_step_in_order(pool: Pool, evaluation: Path, tmp_path: Path) -> None:
    assert adds_up(pool)["rows_in"] == 41
    left = refine(pool, near_duplicates=0.8, decontaminate=[evaluation], cap=5, seed=3)
    counts = adds_up(left)
    assert counts == {
        "rows_in": 41, "rows_pool": len(left), "rows_rejected": 1,
        "rows_duplicate": 1, "rows_near_duplicate": 7, "rows_contaminated": 3, "rows_over_cap": 39 - 7 - 3 - len(left),
    }  # fmt: skip
    assert max(Counter(left.sources).values()) == 5 and set(Counter(left.sources)) >= {"a", "b", "c", None}
    write_left_out(left.report, tmp_path / "out")
    sizes = {path.name: len(lines_of(path)) for path in (tmp_path / "out").iterdir()}
    assert sizes == {"rejected.jsonl": 1, "duplicates.jsonl": 1, "near_duplicates.jsonl": 7, "contaminated.jsonl": 3,
                     "over_cap.jsonl": counts["rows_over_cap"]}  # fmt: skip
    gone = [
        row["row_id"]
        for name in ("near_duplicates", "contaminated", "over_cap")
        for row in lines_of(tmp_path / "out" / f"{name}.jsonl")
    ]
    assert sorted([*gone, *left.row_ids]) == pool.row_ids


def test_what_is_said_of_a_row_left_out(pool: Pool, evaluation: Path) -> None:
    left = refine(pool, near_duplicates=0.8, decontaminate=[evaluation], cap={"a": 1})
    ids = dict(zip(pool.row_ids, range(len(pool)), strict=True))
    for near in left.report.near_duplicates:
        here, kept = ids[near.row_id], ids[near.kept_row_id]
        assert here > kept and near.similarity >= 0.8
        assert (pool.rows["line"][here].as_py(), pool.rows["line"][kept].as_py()) == (near.line, near.kept_line)
        assert near.source == pool.sources[here] and near.file == near.kept_file
    held_out = read_pool(evaluation)
    for row in left.report.contaminated:
        assert row.side == "prompt" and row.text in pool.messages(ids[row.row_id])[0]["content"]
        [there] = held_out.positions([row.evaluation_row_id])
        assert row.evaluation == str(evaluation) and row.text == held_out.messages(there)[0]["content"]
    assert {row.source for row in left.report.over_cap} == {"a"}
    assert left.report.refined["near_duplicates"] == 0.8 and left.report.refined["over_cap"] == {"most": {"a": 1}, "seed": 0}
    [overlap] = left.report.refined["contaminated"]["sets"]
    assert (overlap["rows"], overlap["replies"], overlap["prompts"], overlap["pool_rows"]) == (3, 0, 3, 3)


def test_nothing_asked_for_changes_nothing(pool: Pool) -> None:
    left = refine(pool)
    assert left.row_ids == pool.row_ids and left.report.counts == pool.report.counts and not left.report.refined


def test_near_duplicates_come_before_the_cap(pool: Pool) -> None:
    """A cap of the whole source would otherwise be spent on rows that go."""
    left = refine(pool, near_duplicates=0.8, cap={"a": 7})
    before = Counter(refine(pool, near_duplicates=0.8).sources)["a"]
    assert Counter(left.sources)["a"] == min(7, before)


def test_a_cap_is_drawn_from_the_seed(pool: Pool) -> None:
    draws = {seed: tuple(refine(pool, cap=3, seed=seed).row_ids) for seed in range(20)}
    assert draws[0] == tuple(refine(pool, cap=3, seed=0).row_ids) and len(set(draws.values())) == 20
    often = Counter(row_id for rows in draws.values() for row_id in rows)
    assert len(often) > 30  # all rows are drawn now and then
    assert all(Counter(refine(pool, cap={"b": 2, "a": 1}).sources)[name] == n for name, n in (("a", 1), ("b", 2), ("c", 8)))


def test_a_part_of_a_pool_accounts_for_itself(pool: Pool) -> None:
    left = refine(pool.take(range(10)), cap=2)
    counts = adds_up(left)
    assert (counts["rows_in"], counts["rows_rejected"], counts["rows_duplicate"]) == (10, 0, 0)


def test_refined_twice_is_accounted_for_once(pool: Pool, evaluation: Path) -> None:
    left = refine(refine(pool, near_duplicates=0.8), decontaminate={"held out": read_pool(evaluation)}, cap=4)
    counts = adds_up(left)
    assert counts["rows_near_duplicate"] == 7 and counts["rows_contaminated"] == 3
    assert {row.evaluation for row in left.report.contaminated} == {"held out"}


@pytest.mark.parametrize("shape", ["original", "messages"])
def test_repeats_are_written_and_read_back(shape: Any, pool: Pool, tmp_path: Path) -> None:
    left = refine(pool, repeat={"a": 3, "d": 2})
    assert left.row_ids == pool.row_ids and adds_up(left)["rows_in"] == 41
    assert {(source, int(n)) for source, n in zip(left.sources, left.repeats, strict=True)} == {
        ("a", 3),
        ("b", 1),
        ("c", 1),
        ("d", 2),
        (None, 1),
    }
    paths = write_rows(left, left.repeated(range(len(left))), tmp_path / "out", shape=shape)
    for kind in ("parquet", "jsonl"):
        again = read_pool(paths[kind])
        assert len(again.report.duplicates) == left.repeats.sum() - len(left)
        back = kept_repeats(again, [paths[kind]])
        assert back.row_ids == left.row_ids and back.repeats.tolist() == left.repeats.tolist()
        assert adds_up(back)["rows_in"] == len(left) and not back.report.duplicates
        assert kept_repeats(again, ["elsewhere"]).report.duplicates == again.report.duplicates


def test_repeats_follow_their_rows(pool: Pool) -> None:
    left = refine(pool, repeat={"a": 3}).take(range(1, 20))
    assert left.repeats.tolist() == [3 if source == "a" else 1 for source in left.sources]
    a = left.sources.index("a")
    b = next(i for i, source in enumerate(left.sources) if source != "a")
    assert left.repeated([b, a]).tolist() == [b] + [a] * int(left.repeats[a])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cap": 0}, "cap: 0 rows must be at least 1"),
        ({"cap": {"a": 0}}, "cap: 0 rows of 'a' must be at least 1"),
        ({"cap": {"x": 1}}, "cap: no row has the source 'x'; there are: "),
        ({"repeat": {"x": 2}}, "repeat: no row has the source 'x'"),
        ({"repeat": {"a": 0}}, "repeat: 0 rows of 'a' must be at least 1"),
        ({"near_duplicates": 2}, "above 0 and at most 1"),
        ({"decontaminate": "missing.jsonl"}, "missing.jsonl"),
    ],
)
def test_what_is_wrong_is_said(options: dict[str, Any], message: str, pool: Pool) -> None:
    with pytest.raises(InputError, match=message.replace("(", "\\(")):
        refine(pool, **options)


def test_a_pool_that_is_its_evaluation_set_is_refused(pool: Pool) -> None:
    with pytest.raises(InputError, match="no row is left"):
        refine(pool, decontaminate={"all": pool})


def test_a_source_where_no_row_has_one(tmp_path):
    path = tmp_path / "pool.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n')
    with pytest.raises(InputError, match="repeat: no row has the source 'web'; there are: none, for no row has a source"):
        refine(read_pool(path), repeat={"web": 2})


def test_refining_twice_accounts_for_every_row(tmp_path):
    """What the second time leaves out stands beside what the first did."""
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    texts = [
        " ".join(words),
        " ".join([*words[:-1], "dozen"]),
        " ".join([*words[:8], "a", "b", "c", "d"]),
        "else entirely, as one sees",
    ]
    pairs = [{"prompt": f"{text} ?", "completion": text, "source": "ab"[i % 2]} for i, text in enumerate(texts)]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    pool = read_pool(tmp_path / "pool.jsonl")
    once = refine(pool, near_duplicates=0.7)
    twice = refine(refine(once, near_duplicates=0.3), cap=1)
    counts = twice.report.counts
    assert counts["rows_near_duplicate"] > once.report.counts["rows_near_duplicate"] > 0
    assert counts["rows_in"] == 4 == len(twice) + counts["rows_near_duplicate"] + counts["rows_over_cap"]
    rest = {line.row_id for line in (*twice.report.near_duplicates, *twice.report.over_cap)}
    assert rest | set(twice.row_ids) == set(pool.row_ids) and not rest & set(twice.row_ids)
    sets = {"one": pool.subset(pool.row_ids[:1]), "two": pool.subset(pool.row_ids[1:2])}
    both = refine(refine(pool, decontaminate={"one": sets["one"]}), decontaminate={"two": sets["two"]})
    assert [found["name"] for found in both.report.refined["contaminated"]["sets"]] == ["one", "two"]
