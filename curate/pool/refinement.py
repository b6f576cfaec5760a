"""What is left out of a pool, and what stands in it more than once, before anything is computed with it."""

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from curate.errors import InputError
from curate.pool.decontaminate import RUN, decontaminate
from curate.pool.near import near_duplicates as find_near_duplicates
from curate.pool.origin import Origin
from curate.pool.pool import Pool
from curate.pool.read import read_pool
from curate.pool.reasons import listed
from curate.pool.report import Contaminated, NearDuplicate, OverCap, ReadReport

EVERY_OTHER = "*"  # among caps by source: the sources that are not named
Evaluations = Mapping[str, Pool] | str | Path | Sequence[str | Path]


def refine(
    pool: Pool,
    *,
    near_duplicates: float | None = None,
    decontaminate: Evaluations = (),
    cap: int | Mapping[str, int] | None = None,
    repeat: Mapping[str, int] | None = None,
    seed: int = 0,
) -> Pool:
    """A pool without near-duplicates, without overlap with evaluation sets, with so many rows of each source.

    near_duplicates  leaves out rows that are as near as this to one that stays (see `curate.pool.near`); 0.8 is usual
    decontaminate    leaves out rows that overlap these sets (see `curate.pool.decontaminate`): paths, or pools by name
    cap              at most so many rows of every source, or of the sources named, `*` being those that are not; which rows
                     stay is drawn from the seed
    repeat           rows of these sources are written and trained on so many times; in the pool they stay one row each

    In this order. The report of the pool that comes back accounts for every row: those left out here are beside those
    that reading left out. Of a part of what was read, that part is what comes in. Raises InputError for an option at
    fault, a source that the pool does not have, and when no row is left.
    """
    before, sets = pool, _evaluations(decontaminate) if decontaminate else {}
    if len(pool) < sum(pool.report.shapes.values()):
        pool = accounted_anew(pool)
    _check_sources(pool, cap, repeat)
    if near_duplicates is not None:
        pool = _without_near_duplicates(pool, near_duplicates)
    if sets:
        pool = _without_overlaps(pool, sets)
    if cap is not None:
        pool = _capped(pool, cap, seed)
    if not len(pool):
        raise InputError(f"no row is left of {pool.report.rows_in:,}: every one overlaps an evaluation set")
    if repeat:
        times = np.array([repeat.get(source or "", 1) for source in pool.sources], dtype=np.int64)
        report = replace(pool.report, refined={**pool.report.refined, "repeat": dict(repeat)})
        pool = replace(pool.with_repeats(pool.repeats * times), report=report)
    given = {"near_duplicates": near_duplicates, "decontaminate": sets, "cap": cap, "repeat": repeat}
    asked = {name: value for name, value in given.items() if value}
    return pool if not asked or before.origin is None else replace(pool, origin=_refined(before.origin, asked, seed))


def _refined(origin: Origin, asked: Mapping[str, Any], seed: int) -> Origin | None:
    """Where the refined pool comes from; None where an evaluation set cannot be read again."""
    sets = {name: pool.origin for name, pool in asked.get("decontaminate", {}).items()}
    found = {**asked, **({"decontaminate": sets} if sets else {})}
    return None if None in sets.values() else origin.refined(**found, seed=seed)


def accounted_anew(pool: Pool) -> Pool:
    """The pool with an account of its own rows alone: they are what comes in, and nothing has been left out of them yet."""
    return replace(pool, report=ReadReport(pool.report.files, len(pool), pool.shapes, (), ()))


def kept_repeats(pool: Pool, files: Sequence[str | Path]) -> Pool:
    """The pool with the duplicates inside these files taken for what they are there: rows that were written repeatedly.

    They are no longer counted as rows that came in.
    """
    names = {str(file) for file in files}
    own = [row for row in pool.report.duplicates if row.file == row.kept_file and row.file in names]
    if not own:
        return pool
    extra = Counter(row.row_id for row in own)
    repeats = pool.repeats.copy()
    positions = pool.positions(list(extra))
    repeats[positions] += np.array(list(extra.values()))
    others = tuple(row for row in pool.report.duplicates if row.file != row.kept_file or row.file not in names)
    report = replace(pool.report, rows_in=pool.report.rows_in - len(own), duplicates=others)
    return replace(pool.with_repeats(repeats), report=report)


def _without_near_duplicates(pool: Pool, threshold: float) -> Pool:
    near = find_near_duplicates(pool, threshold)
    ids, places = _ids(pool, near.left_out), _places(pool, near.left_out)
    kept = zip(_ids(pool, near.kept), _places(pool, near.kept), near.similarity.tolist(), strict=True)
    rows = tuple(
        NearDuplicate(row_id, *place, other, at[0], at[1], round(similarity, 4))
        for row_id, place, (other, at, similarity) in zip(ids, places, kept, strict=True)
    )
    return _without(pool, near.left_out, near_duplicates=rows, refined={"near_duplicates": threshold})


def _without_overlaps(pool: Pool, evaluations: Mapping[str, Pool]) -> Pool:
    contamination = decontaminate(pool, evaluations)
    positions = np.array([found.position for found in contamination.found], dtype=np.int64)
    rows = tuple(
        Contaminated(
            row_id, *place, found.evaluation,
            evaluations[found.evaluation].rows["row_id"][found.evaluation_position].as_py(),
            evaluations[found.evaluation].rows["line"][found.evaluation_position].as_py(), found.side, found.text,
        )
        for row_id, place, found in zip(_ids(pool, positions), _places(pool, positions), contamination.found, strict=True)
    )  # fmt: skip
    earlier = pool.report.refined.get("contaminated", {}).get("sets", [])
    sets = [{**asdict(overlap), "fingerprint": evaluations[overlap.name].fingerprint} for overlap in contamination.overlaps]
    asked = {"run_of_words": RUN, "sets": [*earlier, *sets]}
    return _without(pool, positions, contaminated=rows, refined={"contaminated": asked})


def _evaluations(given: Evaluations) -> Mapping[str, Pool]:
    if isinstance(given, Mapping):
        return given
    paths = [given] if isinstance(given, str | Path) else given
    return {str(path): read_pool(path) for path in paths}


def _capped(pool: Pool, cap: int | Mapping[str, int], seed: int) -> Pool:
    dropped: list[np.ndarray] = []
    for source, positions in _by_source(pool).items():
        most = cap if isinstance(cap, int) else cap.get(source, cap.get(EVERY_OTHER, len(positions)))
        rng = np.random.default_rng([seed, zlib.crc32(f"cap/{source}".encode())])
        dropped.append(rng.permutation(positions)[most:])
    over = np.sort(np.concatenate(dropped))
    rows = tuple(OverCap(row_id, *place) for row_id, place in zip(_ids(pool, over), _places(pool, over), strict=True))
    asked = {"most": cap if isinstance(cap, int) else dict(cap), "seed": seed}
    return _without(pool, over, over_cap=rows, refined={"over_cap": asked})


def _by_source(pool: Pool) -> dict[str, np.ndarray]:
    """The positions of each source, which may be ''."""
    column = pool.rows["source"].combine_chunks().fill_null("").dictionary_encode()
    codes = column.indices.to_numpy()
    return {source: np.flatnonzero(codes == code) for code, source in enumerate(column.dictionary.to_pylist())}


def _check_sources(pool: Pool, cap: int | Mapping[str, int] | None, repeat: Mapping[str, int] | None) -> None:
    if isinstance(cap, int) and cap < 1:
        raise InputError(f"cap: {cap} rows must be at least 1")
    named = {"cap": cap if isinstance(cap, Mapping) else {}, "repeat": repeat or {}}
    there = _by_source(pool) if any(named.values()) else {}
    for option, given in named.items():
        for source, number in given.items():
            if number < 1:
                raise InputError(f"{option}: {number} rows of {source!r} must be at least 1")
            if source not in there and not (option == "cap" and source == EVERY_OTHER):
                known = listed(sorted(there)[:30]) if set(there) != {""} else "none, for no row has a source"
                raise InputError(f"{option}: no row has the source {source!r}; there are: {known}")


def _without(pool: Pool, positions: np.ndarray, refined: Mapping[str, Any], **causes: Any) -> Pool:
    kept = pool.take(np.setdiff1d(np.arange(len(pool)), positions, assume_unique=True))
    settings = {**pool.report.refined, **refined}
    # After those of an earlier time, so that refining twice accounts for every row.
    rows: dict[str, Any] = {cause: (*getattr(pool.report, cause), *more) for cause, more in causes.items()}
    return replace(kept, report=replace(pool.report, shapes=kept.shapes, refined=settings, **rows))


def _ids(pool: Pool, positions: np.ndarray) -> list[str]:
    ids: list[str] = pool.rows["row_id"].take(positions).to_pylist()
    return ids


def _places(pool: Pool, positions: np.ndarray) -> list[tuple[str, int, str | None]]:
    columns = [pool.rows[name].take(positions).to_pylist() for name in ("file", "line", "source")]
    return list(zip(*columns, strict=True))
