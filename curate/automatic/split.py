"""Evaluation items in two parts that share no prompt: one that the halving looks at, one that only the confirmation does."""

from dataclasses import replace
from hashlib import blake2b
from itertools import groupby

import numpy as np
import orjson

from curate.errors import InputError
from curate.evaluation.tasks import Task
from curate.pool import Pool
from curate.wording import counted

HELD_OUT_SHARE, HELD_OUT_ROWS = 0.2, 400  # of a pool without an evaluation set: so large a share, but no more rows
LEAST_ITEMS = 10  # of a part: fewer say nothing


def prompts(pool: Pool) -> list[bytes]:
    """What each conversation holds before its first reply: equal for equal prompts."""
    found = []
    for messages, _ in pool.conversations():
        first = next((i for i, message in enumerate(messages) if message["role"] == "assistant"), len(messages))
        found.append(orjson.dumps([[message["role"], message.get("content")] for message in messages[:first]], default=str))
    return found


def in_order(pool: Pool, seed: int) -> list[np.ndarray]:
    """Positions of the rows, those of one prompt together, in the order of a hash of the seed and a group's smallest row id."""
    groups: dict[bytes, list[int]] = {}
    for position, prompt in enumerate(prompts(pool)):
        groups.setdefault(prompt, []).append(position)
    ids = pool.row_ids  # ascending, so the first of a group is its smallest
    key = lambda group: blake2b(f"{seed}/{ids[group[0]]}".encode(), digest_size=16).digest()  # noqa: E731
    return [np.array(group) for group in sorted(groups.values(), key=key)]


def halves(pool: Pool, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the rows of the two parts: within each source, prompts in the order of their hash go to them in turn."""
    sources = pool.sources
    ordered = sorted(in_order(pool, seed), key=lambda group: sources[group[0]] or "")
    sides: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for _, groups in groupby(ordered, key=lambda group: sources[group[0]] or ""):
        for group in groups:
            # To the side with fewer rows: prompts that stand many times do not make the parts uneven.
            sizes = [sum(map(len, side)) for side in sides]
            sides[sizes[0] > sizes[1]].append(group)
    return tuple(np.sort(np.concatenate(side)) if side else np.zeros(0, np.int64) for side in sides)  # type: ignore[return-value]


def split(task: Task, seed: int) -> tuple[Task, Task]:
    """The part for the halving and the part for the confirmation. Raises InputError where one has too few items."""
    found = halves(task.pool, seed)
    if min(map(len, found)) < LEAST_ITEMS:
        raise InputError(
            f"the evaluation set {task.name} has {counted(len(task.pool))} and is cut in two for the halving and the "
            f"confirmation, which must have {LEAST_ITEMS} each; give more, or a second set with --confirm"
        )
    names = (f"{task.name}, halving part", f"{task.name}, confirmation part")
    first, second = (replace(task, name=name, pool=task.pool.take(part)) for name, part in zip(names, found, strict=True))
    return first, second


def named(task: Task, confirm: Task) -> tuple[Task, Task]:
    """Two sets that the user has. Raises InputError where a prompt is in both, or their metrics differ."""
    shared = set(prompts(task.pool)) & set(prompts(confirm.pool))
    if shared:
        are = "is" if len(shared) == 1 else "are"
        raise InputError(
            f"{counted(len(shared), 'prompt')} of the confirmation set {confirm.name} {are} in the evaluation set {task.name} "
            "too; what is confirmed on must not have been searched by"
        )
    if confirm.name == task.name:
        confirm = replace(confirm, name=f"{confirm.name}, confirmation")
    return task, confirm


def held_out(pool: Pool, seed: int) -> tuple[Pool, Task]:
    """A pool without some of its rows, and these as an evaluation set; prompts stay together.

    Raises InputError where the pool is too small for that.
    """
    wanted = min(HELD_OUT_ROWS, int(HELD_OUT_SHARE * len(pool)))
    taken: list[np.ndarray] = []
    for group in in_order(pool, seed):
        if sum(map(len, taken)) >= wanted:
            break
        taken.append(group)
    rows = np.sort(np.concatenate(taken)) if taken else np.zeros(0, np.int64)
    if len(rows) < 2 * LEAST_ITEMS or len(rows) > len(pool) // 2:
        raise InputError(f"a pool of {counted(len(pool))} is too small to hold an evaluation set out of it; give one with --eval")
    return pool.take(np.setdiff1d(np.arange(len(pool)), rows)), Task("held out of the pool", pool.take(rows).with_labels(None))
