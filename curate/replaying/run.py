"""`replay`: from the record in a folder to results, and those beside the ones of then."""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

import curate
from curate.engine import Engine
from curate.errors import InputError
from curate.files import check_output
from curate.pool import Pool
from curate.replaying.inputs import Inputs
from curate.replaying.outcomes import compare_folders
from curate.replaying.read import Record, read_record
from curate.replaying.since import surroundings
from curate.store import Store

EXACT, HALF = 1e-4, 2e-2  # how near numbers must be: of float32, and where passes ran in half precision
WITH_ROWS = ("scores.parquet", "observed.parquet", "embeddings.parquet")  # each has a row for every row that could be used


@dataclass(frozen=True)
class Replayed:
    """What came of doing a folder again.

    verb         that made it
    problems     why that could not be done, in sentences; then there is nothing below but `since`
    since        what is not as it was, and may or may not matter
    compared     what was compared; differences: in sentences
    computed     rows that passes and trainings worked on; reused: rows whose results the store had
    out          the folder of the new results, where they were kept
    """

    verb: str
    problems: list[str]
    since: list[str]
    compared: list[str]
    differences: list[str]
    computed: int = 0
    reused: int = 0
    out: str | None = None

    @property
    def answer(self) -> str:
        """`same`, `differs` or `cannot`."""
        return "cannot" if self.problems else "differs" if self.differences else "same"

    def to_json(self) -> dict[str, Any]:
        """All of it, and the answer."""
        return {"answer": self.answer, **vars(self)}


def replay(
    folder: str | Path,
    *,
    out: str | Path | None = None,
    store: Store | None = None,
    fresh: bool = False,
    changed: bool = False,
    moved: Mapping[str, str] | None = None,
    tolerance: float | None = None,
    overwrite: bool = False,
    trust_remote_code: bool = False,
    **engine: Any,
) -> Replayed:
    """Do again what made an output folder, by its manifest, and compare the results.

    out        keeps the new results there; by default they are compared and removed.
    fresh      compute everything anew, in a store that is removed; by default results in the store serve, as for every verb.
    changed    go on where the pool or a model is no longer what it was; by default that is said and nothing is run.
    moved      where folders lie now that the manifest names: old path -> new path.
    tolerance  by how much numbers may differ, absolutely below 1 and relatively above; by default 1e-4, or 0.02 where passes ran
               in half precision. Rows and ranks must be equal.
    trust_remote_code  let the code that a model's folder brings run again, where it ran then.
    engine     settings of `Engine` that are to be others than they were, such as `device`.

    Raises InputError for a folder whose manifest cannot be read, or has no record.
    """
    record = read_record(folder, moved or {})
    kept = None if out is None else Path(out).absolute()
    if kept is not None:
        check_output(kept, overwrite=overwrite, keep=(folder,))
    before = record.folder.absolute()
    asked = {**record.asked.get("engine", {}), **{name: value for name, value in engine.items() if value is not None}}
    if asked.get("trust_remote_code") and not trust_remote_code:  # a folder may come from anyone
        raise InputError("code of a model's own folder ran then; pass --trust-remote-code where you trust it")
    with tempfile.TemporaryDirectory(prefix="curate-replay-") as scratch, _inside(record):
        used = Store(Path(scratch) / "store") if fresh else store or Store()
        running = Engine(store=used, **asked)
        inputs = Inputs(record, running)
        try:
            arguments = {name: inputs.make(value) for name, value in record.asked["arguments"].items()}
            inputs.make(record.asked.get("inputs", []))
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"the record in {folder} is damaged: {type(error).__name__} {error}") from None
        changes = [*inputs.changed, *_rows_changed(before, inputs.pools)]
        problems = [*inputs.gone, *([] if changed else changes)]
        since = [*(changes if changed else []), *inputs.since, *surroundings(record, running)]
        if problems:
            return Replayed(record.verb, list(dict.fromkeys(problems)), list(dict.fromkeys(since)), [], [])
        made = kept or Path(scratch) / "made"
        _run(record, arguments, running, made, overwrite)
        since += [line for line in surroundings(record, running) if line not in since]  # now the machine has been used
        found = compare_folders(record.verb, before, made, _tolerance(record, running) if tolerance is None else tolerance)
    where = None if kept is None else str(kept)
    worked = sum(stage.computed_rows for stage in running.stages), sum(stage.reused_rows for stage in running.stages)
    return Replayed(record.verb, [], list(dict.fromkeys(since)), found.compared, found.differences, *worked, where)


@contextlib.contextmanager
def _inside(record: Record) -> Iterator[None]:
    """In the working folder of then, which relative names in a method's settings are of; here, where it is gone."""
    where = Path(record.path(record.asked["working_folder"]))
    with contextlib.chdir(where if where.is_dir() else Path.cwd()):
        yield


def _run(record: Record, arguments: Mapping[str, Any], engine: Engine, out: Path, overwrite: bool) -> None:
    verb = getattr(curate, record.verb)
    if record.verb == "conclude":
        folders = [record.path(folder) for folder in arguments["verdicts"]]
        verb(**{**arguments, "verdicts": folders}).write(out, overwrite=overwrite)
    elif record.verb in ("train", "run_recipe"):
        verb(**arguments, engine=engine, out=out, overwrite=overwrite)
    elif record.verb == "select":
        verb(**arguments, engine=engine).write(out, shape=record.asked.get("shape", "original"), overwrite=overwrite)
    else:
        verb(**arguments, engine=engine).write(out, overwrite=overwrite)


def _tolerance(record: Record, engine: Engine) -> float:
    then = record.asked.get("ran_on", {}).get("dtype", "float32")
    return EXACT if then == "float32" == engine.pass_dtype else HALF


def _rows_changed(folder: Path, pools: list[tuple[Mapping[str, Any], Pool]]) -> list[str]:
    """Which rows of the pool are new and which gone, where the folder has a table of all its rows."""
    table = next((folder / name for name in WITH_ROWS if (folder / name).is_file()), None)
    if table is None or not pools or pools[0][0]["fingerprint"] == pools[0][1].fingerprint:
        return []
    then = {*pl.read_parquet(table, columns=["row_id"])["row_id"].to_list(), *_unusable(folder)}
    pool = pools[0][1]
    new = [i for i, row_id in enumerate(pool.row_ids) if row_id not in then]
    gone = sorted(then - set(pool.row_ids))
    said = []
    if gone:
        said.append(f"gone from the pool: {_listed(gone)}")
    if new:
        places = pool.rows.select(["row_id", "file", "line"]).take(new[:4]).to_pylist()
        rows = [f"{row['row_id']} ({Path(row['file']).name} line {row['line']})" for row in places]
        said.append(f"new in the pool: {_listed([*rows, *[''] * (len(new) - len(rows))])}")
    return said


def _unusable(folder: Path) -> list[str]:
    """Rows of the pool that the model could not use."""
    try:
        lines = [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / 'rejected.jsonl'} cannot be read: {error}") from None
    return [line["row_id"] for line in lines if "row_id" in line]


def _listed(rows: list[str]) -> str:
    more = f" and {len(rows) - 3:,} more" if len(rows) > 3 else ""
    return ", ".join(rows[:3]) + more
