"""Two output folders of one verb side by side: how their results differ."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from curate.errors import InputError
from curate.wording import counted

EXAMPLES = 3  # rows that a sentence names


@dataclass(frozen=True)
class Table:
    """What of a table is compared. key: what a row is known by. columns: those that count, None for all but `ignored`."""

    file: str
    what: str  # a row of it is called
    key: tuple[str, ...]
    columns: tuple[str, ...] | None = None
    ignored: tuple[str, ...] = ("file", "line", "id")
    needed: bool = True


TABLES = {
    "select": (
        Table("selection.parquet", "pick", ("rank",), ("row_id", "score", "gain", "stratum")),
        Table("scores.parquet", "score", ("row_id",)),
        Table("tokens.parquet", "row of chosen tokens", ("row_id",), needed=False),
    ),
    "score": (
        Table("scores.parquet", "score", ("row_id",)),
        Table("picks.parquet", "pick", ("method", "budget", "seed", "row_id"), needed=False),
    ),
    "compare": (
        Table("selections.parquet", "pick", ("method", "kind", "budget", "seed", "row_id")),
        Table("verdict.parquet", "arm", ("task", "kind", "method", "budget", "of"),
              ("rows", "mean", "diff_from_random", "ci_low", "ci_high", "answer", "vs_matched", "train_tokens")),
    ),
    "observe": (Table("observed.parquet", "row", ("row_id",)),),
    "embed": (Table("embeddings.parquet", "vector", ("row_id",)),),
    "evaluate": (Table("items.parquet", "item", ("task", "row_id")),),
}  # fmt: skip
TABLES["conclude"] = TABLES["compare"]
TRAINED = ("rows", "tokens", "loss_tokens", "steps", "first_loss", "last_loss")  # of training.json


@dataclass
class Outcome:
    """compared: what was looked at, such as `5 picks`. differences: in sentences; none where all is the same."""

    compared: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)


def compare_folders(verb: str, before: Path, now: Path, tolerance: float) -> Outcome:
    """How the results in two folders of a verb differ.

    tolerance: by how much numbers may differ, absolutely for those below 1 and as a share of the larger ones.
    """
    found = Outcome()
    if verb == "run_recipe":
        _stages(before, now, tolerance, found)
    elif verb == "train":
        _trainings(before, now, tolerance, found)
    else:
        for table in TABLES[verb]:
            if table.needed or (before / table.file).is_file() or (now / table.file).is_file():
                _tables(table, before, now, tolerance, found)
    return found


def _stages(before: Path, now: Path, tolerance: float, found: Outcome) -> None:
    names = sorted(path.name for path in before.iterdir() if path.is_dir() and path.name[:1].isdigit())
    for name in names:
        verb = name.partition("-")[2]
        if verb == "refine":
            part = Outcome()
            _tables(Table("data.parquet", "row", ("row_id",), ("row_id",)), before / name, now / name, tolerance, part)
        else:
            part = compare_folders(verb, before / name, now / name, tolerance)
        found.compared += [f"{text} of {name}" for text in part.compared]
        found.differences += [f"{name}: {text}" for text in part.differences]


def _tables(table: Table, before: Path, now: Path, tolerance: float, found: Outcome) -> None:
    old, new = (_read(folder / table.file) for folder in (before, now))
    if old is None or new is None:
        found.differences.append(f"{table.file} is {'gone from the folder' if old is None else 'not made now'}")
        return
    found.compared.append(counted(len(old), table.what))
    ordered = sorted(set(old.columns) ^ set(new.columns))
    if ordered:
        found.differences.append(f"{table.file} has other columns: {', '.join(ordered)}")
    keys = [name for name in table.key if name in old.columns and name in new.columns]
    old, new = (_keyed(frame, keys) for frame in (old, new))
    lost, more = old.join(new, on=["_key"], how="anti"), new.join(old, on=["_key"], how="anti")
    for frame, said in ((lost, "gone"), (more, "new")):
        if len(frame):
            found.differences.append(f"{counted(len(frame), table.what)} {said}: {_some(frame['_key'].to_list())}")
    both = old.join(new, on=["_key"], how="inner", suffix="_now")
    columns = table.columns or [name for name in old.columns if name not in (*table.key, *table.ignored, "_key")]
    for name in (name for name in columns if name in both.columns and f"{name}_now" in both.columns):
        other, largest = _unlike(both[name], both[f"{name}_now"], tolerance)
        if other.any():
            rows = both.filter(pl.Series(other))["_key"].to_list()
            by = "" if largest is None else f" by up to {largest:.2g}"
            found.differences.append(f"{name} differs{by} for {counted(len(rows), table.what)}: {_some(rows)}")


def _keyed(frame: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    text = pl.concat_str([pl.col(name).cast(pl.String).fill_null("") for name in keys], separator=" ")
    return frame.with_columns(text.alias("_key"))


def _unlike(old: pl.Series, new: pl.Series, tolerance: float) -> tuple[np.ndarray, float | None]:
    """bool [n]: which values differ; and, of numbers, by how much at most."""
    if not (old.dtype.is_float() and new.dtype.is_float()):
        if old.dtype.is_nested() or new.dtype.is_nested():
            return _unlike_lists(old, new, tolerance)
        return np.asarray(old.ne_missing(new)), None
    a, b = (series.cast(pl.Float64).fill_null(np.nan).to_numpy() for series in (old, new))
    gap = np.abs(a - b)
    other = (np.isnan(a) != np.isnan(b)) | (gap > tolerance * np.maximum(1, np.abs(a)))
    known = gap[other & ~np.isnan(gap)]
    return other, float(known.max()) if len(known) else None


def _unlike_lists(old: pl.Series, new: pl.Series, tolerance: float) -> tuple[np.ndarray, float | None]:
    other, largest = np.zeros(len(old), bool), None
    for i, (a, b) in enumerate(zip(old.to_list(), new.to_list(), strict=True)):
        if a is None or b is None or len(a) != len(b) or not a or not isinstance(a[0], float):
            other[i] = a != b
            continue
        unlike, gap = _unlike(pl.Series(a, dtype=pl.Float64), pl.Series(b, dtype=pl.Float64), tolerance)
        other[i] = unlike.any()
        largest = max(filter(None, (largest, gap)), default=None)
    return other, largest


def _trainings(before: Path, now: Path, tolerance: float, found: Outcome) -> None:
    old, new = (json.loads((folder / "training.json").read_bytes()) for folder in (before, now))
    found.compared.append(f"{counted(old['steps'], 'step')} of training")
    for name in TRAINED:
        if abs(old[name] - new[name]) > tolerance * max(1, abs(old[name])):
            found.differences.append(f"{name} {old[name]:g} then, {new[name]:g} now")
    files = sorted(file.name for file in before.glob("*.safetensors"))
    for name in files:
        if not (now / name).is_file():
            found.differences.append(f"{name} is not made now")
            continue
        gap, tensors = _weights(before / name, now / name)
        found.compared.append(f"{counted(tensors, 'tensor')} of {name}")
        if not gap <= tolerance:
            found.differences.append(f"the weights in {name} differ by up to {gap:.2g}")


def _weights(before: Path, now: Path) -> tuple[float, int]:
    """The largest difference of a weight (infinite where shapes or names differ), and how many tensors there are."""
    from safetensors import safe_open

    with safe_open(str(before), framework="pt") as old, safe_open(str(now), framework="pt") as new:
        names = list(old.keys())
        if set(names) != set(new.keys()):
            return float("inf"), len(names)
        gap = 0.0
        for name in names:
            a, b = old.get_tensor(name).float(), new.get_tensor(name).float()
            gap = max(gap, float("inf") if a.shape != b.shape else float((a - b).abs().max()) if a.numel() else 0.0)
    return gap, len(names)


def _read(file: Path) -> pl.DataFrame | None:
    try:
        return pl.read_parquet(file) if file.is_file() else None
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{file} cannot be read: {' '.join(str(error).split())}") from None


def _some(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - EXAMPLES:,} more" if len(keys) > EXAMPLES else ""
    return ", ".join(keys[:EXAMPLES]) + more
