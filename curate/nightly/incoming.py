"""What a night finds in the pool's folder: which rows are new, whether they can be used, and what of all is chosen from."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curate.errors import InputError
from curate.evaluation.tasks import Task
from curate.nightly.recipe import NightlyRecipe
from curate.pool import Pool, read_pool, refine
from curate.pool.sources import resolve
from curate.wording import at_lines, counted


@dataclass(frozen=True)
class Incoming:
    """The pool of a night.

    read   all rows of the files that can be used
    pool   what is chosen from: without what overlaps a gate set and what the recipe refines, except for accepted rows
    new, gone  how many rows came since the night before, and how many are there no more
    new_files  those that the night before did not have
    """

    read: Pool
    pool: Pool
    new: int
    gone: int
    new_files: tuple[str, ...]

    def account(self) -> dict[str, Any]:
        """Counts, for people and machines."""
        found = {"rows_read": len(self.read), "rows_new": self.new, "rows_gone": self.gone, "rows_chosen_from": len(self.pool)}
        return {**found, "new_files": list(self.new_files)}


def files_of(recipe: NightlyRecipe) -> list[str]:
    """The files of the pool as they are there now. Raises InputError where there is none."""
    return [source.name for text in recipe.pool for source in resolve(recipe.path(text))]


def take_in(
    recipe: NightlyRecipe,
    files: Sequence[str],
    gates: Mapping[str, Task],
    *,
    before: Collection[str],
    files_before: Collection[str],
    accepted: Collection[str],
) -> Incoming:
    """Read and refine the pool.

    gates   evaluation sets by name
    before  row ids that the night before read, and files_before its files; accepted: row ids of what is in force

    Raises InputError as `read_pool` and `refine` do, and where more rows of the new files cannot be used than the recipe allows.
    """
    whole = read_pool(files)
    new_files = tuple(file for file in whole.report.files if file not in set(files_before))
    _validate(whole, new_files, recipe.max_rejected)
    ids, known = set(whole.row_ids), set(before)
    clean = refine(whole, decontaminate={file: task.pool for file, task in gates.items()})
    found = _refined(recipe, clean)
    stays = ids & set(accepted) & set(clean.row_ids)
    pool = found if stays <= set(found.row_ids) else clean.subset(sorted(stays | set(found.row_ids)))
    return Incoming(whole, pool, len(ids - known), len(known - ids), new_files)


def _refined(recipe: NightlyRecipe, pool: Pool) -> Pool:
    asked = recipe.refine
    if asked is None:
        return pool
    sets = {recipe.path(path): read_pool(recipe.path(path)) for path in asked.decontaminate}
    return refine(pool, near_duplicates=asked.near_duplicates, decontaminate=sets, cap=asked.cap, seed=asked.seed)


def _validate(pool: Pool, files: Collection[str], most: float) -> None:
    """Raises InputError where too many rows of the new files cannot be used."""
    rejected = [row for row in pool.report.rejected if row.file in set(files)]
    if not rejected:
        return
    read = Counter(pool.rows["file"].to_pylist())
    read.update(row.file for row in pool.report.rejected)
    read.update(row.file for row in pool.report.duplicates)
    total = sum(read[file] for file in files)
    if len(rejected) > most * total:
        where = at_lines([(row.file, row.line) for row in rejected], 3)
        raise InputError(
            f"{len(rejected):,} of the {counted(total)} of new files cannot be used, more than max_rejected {most:.0%} allows: "
            f"{where}; the first {rejected[0].reason}"
        )
