"""Evaluation sets must be held out: from the target always, from the pool as far as it is said."""

from collections.abc import Sequence

from curate.errors import InputError
from curate.evaluation.tasks import Task
from curate.pool import Pool
from curate.pool.decontaminate import RUN, decontaminate
from curate.wording import counted


def refuse_overlap(pool: Pool, tasks: Sequence[Task], target: Pool | None) -> None:
    """Raises InputError where a task overlaps with the target at all, or lies in the pool with every conversation."""
    known = set(pool.row_ids)
    for task in tasks:
        if known.issuperset(task.pool.row_ids):
            raise InputError(f"every conversation of the evaluation set {task.name} is in the pool; hold some out")
    if target is not None:
        refuse_target_overlap(tasks, target)


def refuse_target_overlap(tasks: Sequence[Task], target: Pool) -> None:
    """Raises InputError where a task overlaps with the target at all."""
    for task in tasks:
        same = len(set(task.pool.row_ids) & set(target.row_ids))
        if same:
            raise InputError(f"{same} rows of the target are in the evaluation set {task.name}; hold them out of one of the two")
        found = decontaminate(target, {task.name: task.pool}).found
        if found:
            first = target.rows.select(["file", "line"]).slice(found[0].position, 1).to_pylist()[0]
            raise InputError(
                f"{counted(len(found))} of the target overlap with the evaluation set {task.name}, the first at "
                f"{first['file']}:{first['line']} (“{found[0].text}”); leave them out, as --decontaminate does for a pool"
            )


def measured_overlap(pool: Pool, tasks: Sequence[Task]) -> list[str]:
    """A sentence for each task that the pool overlaps with, by runs of words as `curate.pool.decontaminate` finds them."""
    found = decontaminate(pool, {task.name: task.pool for task in tasks})
    return [
        f"{overlap.replies:,} replies and {overlap.prompts:,} prompts of the {overlap.rows:,} conversations of {overlap.name} "
        f"overlap with {counted(overlap.pool_rows)} of the pool (runs of {RUN} words, a template's own left out); "
        "--decontaminate leaves those rows out."
        for overlap in found.overlaps
        if overlap.pool_rows
    ]
