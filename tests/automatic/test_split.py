"""Evaluation items in two parts that share no prompt."""

import json

import pytest

from curate.automatic.split import halves, held_out, named, prompts, split
from curate.errors import InputError
from curate.evaluation.tasks import Task
from curate.pool import read_pool


def rows(count, copies=1, source=lambda i: f"s{i % 3}"):
    return [
        {"source": source(i), "messages": [{"role": "user", "content": f"Question {i}?"}, {"role": "assistant", "content": f"{i}, {c}."}]}
        for i in range(count)
        for c in range(copies)
    ]  # fmt: skip


def test_two_halves_of_equal_size_in_every_source():
    pool = read_pool(rows(60))
    one, other = halves(pool, 0)
    assert sorted([*one, *other]) == list(range(60)) and len(one) == len(other) == 30
    for part in (one, other):
        assert sorted(pool.sources[i] for i in part) == sorted(f"s{i % 3}" for i in range(30))


def test_rows_of_one_prompt_lie_on_one_side():
    pool = read_pool(rows(30, copies=3))
    one, other = halves(pool, 0)
    asked = prompts(pool)
    assert len(set(asked)) == 30 and not {asked[i] for i in one} & {asked[i] for i in other}
    assert len(one) + len(other) == 90 and abs(len(one) - len(other)) <= 3


def test_the_side_hangs_on_the_row_and_the_seed_alone():
    pool = read_pool(rows(60))
    again = read_pool(rows(60)[::-1])
    assert [half.tolist() for half in halves(pool, 0)] == [half.tolist() for half in halves(again, 0)]
    assert halves(pool, 0)[0].tolist() != halves(pool, 1)[0].tolist()


def test_a_task_is_cut_in_two_with_its_metric():
    first, second = split(Task("sums", read_pool(rows(40)), "exact_match", max_new_tokens=8), 0)
    assert (first.name, second.name) == ("sums, halving part", "sums, confirmation part")
    assert first.metric == second.metric == "exact_match" and second.max_new_tokens == 8
    with pytest.raises(InputError, match="has 19 rows and is cut in two"):
        split(Task("sums", read_pool(rows(19))), 0)


def test_a_named_confirmation_set_shares_no_prompt():
    task, other = Task("dev", read_pool(rows(30))), Task("dev", read_pool(rows(60)[40:]))
    assert [each.name for each in named(task, other)] == ["dev", "dev, confirmation"]
    with pytest.raises(InputError, match="10 prompts of the confirmation set test are in"):
        named(task, Task("test", read_pool(rows(40)[20:])))


def test_without_a_set_some_of_the_pool_is_held_out():
    pool = read_pool(rows(100, copies=2))
    left, task = held_out(pool, 0)
    assert len(left) + len(task.pool) == 200 and len(task.pool) == 40
    assert not set(prompts(left)) & set(prompts(task.pool))
    with pytest.raises(InputError, match="too small to hold an evaluation set out"):
        held_out(read_pool(rows(40)), 0)
    assert len(held_out(read_pool(json.loads(json.dumps(rows(3000)))), 0)[1].pool) == 400
