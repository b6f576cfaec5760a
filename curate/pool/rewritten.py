"""Rows some of whose replies were written anew: a pool of their own, which says of each row what it was."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curate.pool.pool import Pool
from curate.pool.read import read_pool

PARENT, CHANGED = "parent", "changed"  # the columns that are added: the id of the row as it was read, and what was changed


@dataclass(frozen=True)
class Rewrite:
    """reply: what stands in place of a row's last reply. change: what was done, in a few words, for the column `changed`."""

    reply: str
    change: str


def rewritten(pool: Pool, positions: np.ndarray, rewrites: Sequence[Rewrite | None]) -> tuple[Pool, np.ndarray]:
    """(the rows at these positions with their new replies, int64 where they stand there in the order given).

    Rows have `messages` (and `tools`, `source`), the user's other columns, `parent`, and `changed`, null where nothing was.
    Their ids are those of what they say now. Of rows that have become equal the first stays, so there may be fewer.
    """
    records = []
    given = zip(positions.tolist(), pool.conversations(positions), pool.records(positions), rewrites, strict=True)
    for position, (messages, tools), record, rewrite in given:
        fields = {column for _, column in pool.layout_of(position).columns} | {"messages", "tools", "source", "row_id"}
        others = {_free(name): value for name, value in record.items() if name not in fields}
        if rewrite is not None:
            last = max(i for i, message in enumerate(messages) if message["role"] == "assistant")
            kept = {key: value for key, value in messages[last].items() if key not in ("reasoning_content", "tool_calls")}
            messages = [*messages[:last], {**kept, "content": rewrite.reply}, *messages[last + 1 :]]
        records.append(
            {
                "messages": messages,
                **({"tools": tools} if tools is not None else {}),
                "source": pool.sources[position],
                **others,
                PARENT: pool.row_ids[position],
                CHANGED: rewrite.change if rewrite else None,
            }
        )
    made = read_pool(records)
    line = np.array(made.rows["line"].to_pylist())
    order = np.argsort(line)
    return made.with_repeats(pool.repeats[positions][line - 1]), order


def _free(name: str) -> str:
    """A column of the user's own, under another name where it has that of one that is added."""
    return f"original_{name}" if name in (PARENT, CHANGED) else name
