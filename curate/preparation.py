"""Before anything is scored: what the user named, made into pools, models, methods and tasks, and tokenised."""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from curate.budget import Budget, Limit
from curate.embedding import make_embedder
from curate.embedding.sentence import encoder_folder
from curate.engine import Engine
from curate.errors import InputError
from curate.evaluation.grammar import parse_head
from curate.evaluation.tasks import Task
from curate.lm.models import ModelSpec
from curate.method import Data, Method
from curate.pool import Pool, TokenLabels, kept_repeats, read_labels, read_pool
from curate.pool.expansion import MAX_EXPANSION
from curate.pool.memory import is_path
from curate.pool.origin import Origin
from curate.registry import build, label, make_method
from curate.requests import Embedder, SentenceEncoder
from curate.resources import default_model
from curate.selectors.picks import Picks
from curate.signals import Signal
from curate.training.config import OF_POLICIES, TrainConfig
from curate.wording import counted, rows_called

if TYPE_CHECKING:
    from curate.requests import Rows


TOKENS_FILE = "tokens.parquet"  # beside the data of a selection that chose tokens
PoolLike = Any  # a Pool, or what `read_pool` reads: paths, or rows in memory
MethodLike = str | Method | type[Method]


@dataclass(frozen=True)
class Unusable:
    """A row of a pool that a model cannot use."""

    row_id: str
    file: str
    line: int
    reason: str


@dataclass
class Prepared:
    """A pool that every model of a run can use, and what methods may know of it."""

    pool: Pool
    rows: "Rows"
    data: Data
    table: pl.DataFrame  # row_id, source, tokens, response_tokens; sorted by row id
    unusable: tuple[Unusable, ...]  # by the model
    truncated: int  # rows that are cut, as the model to be trained has them


def as_pool(
    pool: PoolLike, *, columns: Mapping[str, str] | None = None, limit: int | None = None, max_expansion: float = MAX_EXPANSION
) -> Pool:
    """A Pool as it is, anything else as `read_pool` reads it; the folder of a selection stands for the data in it.

    Rows that a selection holds several times are one row each, to be repeated, and where it chose tokens the others do not
    count; where its tokens are chosen in training, they are. `columns`, `limit`, `max_expansion`: as for `read_pool`. Raises
    InputError as it does, and for selections whose token policies differ.
    """
    if isinstance(pool, Pool):
        return pool
    if not is_path(pool):
        return read_pool(pool, columns=columns, limit=limit, max_expansion=max_expansion)
    paths = [pool] if isinstance(pool, (str, Path)) else list(pool)
    data = [selected_data(path) for path in paths]
    selected = [file for path, file in zip(paths, data, strict=True) if file is not path]
    whole = kept_repeats(read_pool(data, columns=columns, limit=limit, max_expansion=max_expansion), selected)
    chosen = [read_labels(tokens) for file in selected if (tokens := Path(file).with_name(TOKENS_FILE)).is_file()]
    if chosen:
        whole = whole.with_labels(TokenLabels({k: v for found in chosen for k, v in found.rows.items()}))
    policies = {str(Path(file).parent): policy for file in selected if (policy := read_policy(Path(file).parent)) is not None}
    first = next(iter(policies), "")
    for other, policy in policies.items():
        if policy != policies[first]:
            raise InputError(f"{first} and {other} were selected for different token policies; take one of them")
    return replace(whole.with_policy(policies.get(first)), origin=Origin.of(paths, whole.report.files, columns, limit))


def read_policy(folder: str | Path) -> dict[str, Any] | None:
    """The token policy that the manifest of a folder of selected rows names; None where there is none."""
    try:
        recipe = json.loads((Path(folder) / "manifest.json").read_bytes())["recipe"]
        return TrainConfig(**{name: recipe[name] for name in OF_POLICIES if name in recipe}).policy
    except (OSError, ValueError, LookupError, TypeError):  # what a manifest is for is not this alone
        return None


def selected_data(path: str | Path) -> str | Path:
    """The data file inside a folder that `Selection.write` made; any other path as it is."""
    data = Path(path) / "data.parquet"
    return data if data.is_file() and (Path(path) / "manifest.json").is_file() else path


def as_model(model: str | Path | ModelSpec | None) -> ModelSpec:
    """A model by folder or hub name; None is the embedded one."""
    if isinstance(model, ModelSpec):
        return model
    return ModelSpec(str(model)) if model is not None else ModelSpec(str(default_model()))


def as_method(method: MethodLike, settings: Mapping[str, Any] | None = None) -> Method:
    """A method by name or class (with settings), or as it is. InputError for anything else, and for a class without a name."""
    if isinstance(method, Method):
        return method
    if isinstance(method, str):
        return make_method(method, settings)
    if isinstance(method, type) and issubclass(method, Method):
        if not isinstance(getattr(method, "name", None), str):
            raise InputError(f"the method {method.__name__} has no name: write name: ClassVar[str] = ... in its class")
        return build(method, settings or {})
    raise InputError(f"a method is given by name, as a class or as an object of one, not as {type(method).__name__}")


def as_methods(methods: MethodLike | Sequence[MethodLike]) -> list[Method]:
    """As `as_method`, of one method or several."""
    several = methods if isinstance(methods, Sequence) and not isinstance(methods, str) else [methods]
    return [as_method(method) for method in several]


def refuse_rewriting(methods: Sequence[Method], what: str) -> None:
    """Raise InputError for a method that rewrites rows, where `what` takes them as they are."""
    for method in methods:
        if method.rewrites():
            said = "writes replies of its own; `curate select --out` writes such rows, for `curate train` or another pool"
            raise InputError(f"{what} takes rows as they are, and {label(method)} {said}")


def as_embedder(embedder: str | Embedder, model: ModelSpec, rows: "Rows | None" = None) -> Embedder:
    """An embedder by name, or as it is; InputError when it is not to be had."""
    found = make_embedder(embedder, model, rows)
    if isinstance(found, SentenceEncoder):
        encoder_folder(found.name)
    return found


def as_tasks(evals: Mapping[str, PoolLike] | PoolLike | Sequence[Task]) -> list[Task]:
    """Evaluation tasks from conversations by name, or from one unnamed set.

    A name may say how they are measured: `sums:exact_match:extractor=gsm8k` (`curate.evaluation.grammar`).
    """
    if isinstance(evals, Mapping):
        return [parse_head(name).task(rows, as_pool) for name, rows in evals.items()]
    if isinstance(evals, Sequence) and not isinstance(evals, str) and evals and all(isinstance(e, Task) for e in evals):
        return list(evals)  # type: ignore[arg-type]
    return [Task("eval", as_pool(evals))]  # type: ignore[arg-type]


@dataclass(frozen=True)
class HeldOut:
    """A task on the rows that a model can be measured on, their handle, and row id -> why another cannot."""

    task: Task
    rows: "Rows"
    failed: Mapping[str, str]


def hold_out(engine: Engine, task: Task, model: ModelSpec) -> HeldOut:
    """Tokenise a task for a model, and leave out the rows that cannot be measured. Raises InputError when none is left."""
    role = f"eval {task.name}"
    usable, rows, failed = engine.add(role, task.pool, model)
    task = replace(task, pool=usable)
    more = task.unusable(engine.tokenizer(model), engine.length_limit(model))
    if more:
        kept = [row_id for row_id in usable.row_ids if row_id not in more]
        if not kept:
            row_id, reason = next(iter(more.items()))
            raise InputError(f"no row of the evaluation set {task.name} can be measured by {task.metric}: row {row_id} {reason}")
        usable, rows, _ = engine.add(role, usable.subset(kept), model)
        task = replace(task, pool=usable)
    note_cut(engine, rows, model)
    return HeldOut(task, rows, {**failed, **more})


def prepare(
    engine: Engine,
    pool: Pool,
    *,
    model: ModelSpec,
    scorer_model: ModelSpec | None = None,
    target: Pool | None = None,
    existing: Pool | None = None,
    recipe: TrainConfig | None = None,
    embedder: str | Embedder = "hidden",
    seed: int = 0,
    methods: Sequence[Method] = (),
) -> Prepared:
    """Tokenise the pool for the model to be trained and those that score, and leave out what they cannot use.

    methods: those that will be asked, for the models of their own that read the pool.

    embedder: as `curate.embedding.make_embedder` reads it; hidden states are of the model that scores, and TF-IDF learns
    from the pool.

    The recipe has the pool's token policy, unless it names its own.

    Raises InputError when no row is left, and for a recipe that a method's trainings cannot follow.
    """
    scorer = scorer_model or model
    recipe = (recipe or TrainConfig()).inheriting(pool.policy)
    readers = list(dict.fromkeys([model, scorer, *(reader for method in methods for reader in method.readers())]))
    for named in readers:
        named.folder()  # a name at fault is said before anything is computed
    for method in methods:
        method.check_training(recipe, lambda: engine.without_weights(model))
    as_embedder(embedder, scorer)
    usable, rows, failed = engine.add("pool", pool, model)
    for reader in readers[1:]:
        usable, rows, more = engine.add("pool", usable, reader)
        failed = {**failed, **more}
    if len(readers) > 1:
        usable, rows, _ = engine.add("pool", usable, model)
    truncated = [note_cut(engine, rows, reader) for reader in readers]
    others = {}
    for role, other in (("target", target), ("existing", existing)):
        if other is not None:
            others[role] = engine.add(role, other, scorer)
            note_cut(engine, others[role][1], scorer)
            held = others[role][0]
            if overlap := len(set(held.row_ids) & set(usable.row_ids)):
                engine.note(f"{overlap:,} of the {len(held):,} rows of {rows_called(role)} are in the pool as well")
    data = Data(
        pool=rows,
        model=scorer,
        recipe=recipe,
        seed=seed,
        embedder=as_embedder(embedder, scorer, rows),
        trained=model,
        target=others["target"][1] if "target" in others else None,
        existing=others["existing"][1] if "existing" in others else None,
        target_sources=tuple(others["target"][0].sources) if "target" in others else None,
    )
    encodings = engine.encodings(model, rows)
    for method in methods:
        method.check(encodings)
    for note in _unused(methods, data):
        engine.note(note)
    table = pl.DataFrame(
        {
            "row_id": usable.row_ids,
            "source": pl.Series(usable.sources, dtype=pl.String),
            "tokens": encodings.lengths,
            "response_tokens": encodings.response_lengths,
        }
    )
    return Prepared(usable, rows, data, table, unusable_rows(pool, failed), truncated[0])


def cut_said(engine: Engine, rows: "Rows", model: ModelSpec) -> str | None:
    """How many rows that were added lose tokens to the limit of a model, in words; None where none does."""
    cut = int(engine.encodings(model, rows).truncated.sum())
    are, limit = "is" if cut == 1 else "are", engine.length_limit(model)
    return f"{counted(cut, 'conversation')} of the {rows.role} {are} cut at {limit:,} tokens for {model.label}" if cut else None


def note_cut(engine: Engine, rows: "Rows", model: ModelSpec) -> int:
    """How many rows that were added lose tokens to the limit of a model; said in a note where any do."""
    if said := cut_said(engine, rows, model):
        engine.note(said)
    return int(engine.encodings(model, rows).truncated.sum())


def looks_at(method: Method, data: Data, role: str) -> bool:
    """Whether a method asks otherwise for other data being there: role is target or existing, which `data` has."""
    if method.by_budget:
        data = replace(data, limit=Limit(np.ones(data.pool.size), data.pool.size))
    try:
        without = replace(data, target=None) if role == "target" else replace(data, existing=None)
        return method.requests(data, {}) != method.requests(without, {})
    except InputError:  # without it the method cannot work, or not with all that there is
        return True


def _unused(methods: Sequence[Method], data: Data) -> list[str]:
    """What was given for methods none of which looks at it."""
    said = []
    for role in data.others:
        if methods and not any(looks_at(method, data, role) for method in methods):
            names = ", ".join(label(method) for method in methods)
            nobody = f"{names} does not look at it" if len(methods) == 1 else f"none of {names} looks at it"
            said.append(f"{rows_called(role)} has no effect: {nobody}")
    return said


def unusable_rows(pool: Pool, failed: Mapping[str, str]) -> tuple[Unusable, ...]:
    """The rows of a pool that a model cannot use, by file and line. failed: row id -> why."""
    at = [i for i, row_id in enumerate(pool.row_ids) if row_id in failed]
    places = pool.rows.select(["row_id", "file", "line"]).take(np.array(at, dtype=np.int64)).to_pylist()
    return tuple(sorted((Unusable(**place, reason=failed[place["row_id"]]) for place in places), key=lambda r: (r.file, r.line)))


def counts(whole: Pool, usable: Pool, truncated: int) -> dict[str, int]:
    """rows_in, and what it is the sum of; `usable`: what a model can use of the whole, the rest counts as rejected.

    rows_truncated: how many of the usable rows are cut to the model's limit.
    Of a part of what was read, that part is what comes in.
    """
    found = whole.report.counts
    if len(whole) < found["rows_pool"]:
        found = {**dict.fromkeys(found, 0), "rows_in": len(whole)}
    rejected = found["rows_rejected"] + len(whole) - len(usable)
    return {**found, "rows_pool": len(usable), "rows_rejected": rejected, "rows_truncated": truncated}


def generator(seed: int, method: Method, purpose: str) -> np.random.Generator:
    """The stream of random numbers of one method and purpose: all of them come from the one seed."""
    return np.random.default_rng([seed, zlib.crc32(f"{label(method)}/{purpose}".encode())])


def signal(prepared: Prepared, method: Method, seen: Mapping[Any, Any]) -> Signal:
    """A method's signal for every row of the prepared pool."""
    found = method.signal(prepared.data, seen, generator(prepared.data.seed, method, "signal"))
    if len(found) != len(prepared.pool):
        raise ValueError(f"{method.name} gave {len(found)} values for {len(prepared.pool)} rows")
    return found


def within(prepared: Prepared, method: Method, budget: Budget) -> Prepared:
    """The same for one budget, where the method asks by it."""
    if not method.by_budget:
        return prepared
    return replace(prepared, data=replace(prepared.data, limit=budget.limit(prepared.table["tokens"].to_numpy())))


def choose(prepared: Prepared, method: Method, found: Signal, budget: Budget) -> Picks:
    """A method's picks within a budget."""
    limit = budget.limit(prepared.table["tokens"].to_numpy())
    return method.choose(found, prepared.table, limit, generator(prepared.data.seed, method, "choose"))
