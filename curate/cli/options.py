"""The options that verbs share, in groups. An option added to a group reaches every verb that takes the group whole.

A group is a frozen dataclass, `panel` its heading in the help; its methods do what its options say.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from typer import Argument, Option

from curate.cli.terminal import console, print_json
from curate.errors import InputError
from curate.wording import counted

Methods = Annotated[str, Option("--methods", "--method", "-m", help="names, with commas; name:key=value sets a setting")]
Seed = Annotated[int, Option("--seed", min=0)]
Truth = Annotated[str | None, Option("--truth", help="column that names planted defects, to judge the scores by")]
Groups = Annotated[
    str | None, Option("--groups", help="with --truth: column whose rare values picks should reach (else skill, or source)")
]


@dataclass(frozen=True, kw_only=True)
class PoolOptions:
    """Which conversations are read, and which of them are left out or repeated."""

    panel: ClassVar = "Pool"
    pool: Annotated[list[str], Argument(metavar="POOL...", help="files, folders, globs, or a hub dataset org/name")]
    mapping: Annotated[list[str] | None, Option("--map", help="name a column by hand, canonical=yours; repeat")] = None
    limit: Annotated[int | None, Option("--limit", min=1, help="read the first N rows only")] = None
    strict: Annotated[bool, Option("--strict", help="stop when any row cannot be used")] = False
    max_expansion: Annotated[
        float,
        Option("--max-expansion", min=1, metavar="RATIO", help="times its size that a compressed file may become"),
    ] = 100
    near_duplicates: Annotated[
        str | None, Option("--near-duplicates", metavar="SIMILARITY", help="leave out rows as near as this to another; try 0.8")
    ] = None
    decontaminate: Annotated[
        list[str] | None, Option("--decontaminate", metavar="FILE", help="leave out rows that overlap an evaluation set; repeat")
    ] = None
    cap: Annotated[
        list[str] | None, Option("--cap", metavar="[SOURCE=]N", help="at most N rows of a source, or of every other one; repeat")
    ] = None
    repeat: Annotated[
        list[str] | None, Option("--repeat", metavar="SOURCE=K", help="write and train on rows of a source K times; repeat")
    ] = None

    @property
    def files(self) -> list[str]:
        """All that is read."""
        return [*self.pool, *(self.decontaminate or [])]

    def read(self, engine: "EngineOptions", *models: str | None, seed: int = 0) -> Any:
        """The pool, refined. Raises InputError as `read_pool` and `refine` do, and with --strict for a row that cannot be used.

        engine, models: what is to use the rows; the first model is the one to be trained, None where another trains.
        """
        near, cap, repeat = _similarity(self.near_duplicates), _cap(self.cap), _repeat(self.repeat)
        from curate.pool import refine
        from curate.preparation import as_pool

        pool = as_pool(self.pool, columns=key_values(self.mapping, "--map"), limit=self.limit, max_expansion=self.max_expansion)
        pool = refine(
            pool,
            near_duplicates=near,
            decontaminate=self.decontaminate or (),
            cap=cap,
            repeat=repeat,
            seed=seed,
        )
        if self.strict:
            self._refuse(pool, [*pool.report.rejected, *engine.unusable(pool, *models)])
        return pool

    @staticmethod
    def _refuse(pool: Any, rejected: Sequence[Any]) -> None:
        if rejected:
            first = min(rejected, key=lambda row: (pool.report.files.index(row.file), row.line))
            raise InputError(
                f"--strict: {counted(len(rejected))} rejected, the first in {first.file} line {first.line}: {first.reason}"
            )


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    panel: ClassVar = "Models"
    model: Annotated[str | None, Option("--model", help="the model: a folder or hub name [dim](default: embedded)[/]")] = None
    scorer_model: Annotated[str | None, Option("--scorer-model", help="model that scores, when it is another one")] = None
    embedder: Annotated[
        str, Option("--embedder", help="hidden, hidden:last, hidden:weighted, tfidf, tfidf:64, or a sentence-transformers model")
    ] = "hidden"


@dataclass(frozen=True, kw_only=True)
class ReferenceOptions:
    """Other conversations that methods may look at."""

    panel: ClassVar = "Other data"
    target: Annotated[str | None, Option("--target", help="examples of what the model should become good at")] = None
    existing: Annotated[str | None, Option("--existing", help="what the model was trained on already")] = None


@dataclass(frozen=True, kw_only=True)
class EvalOptions:
    panel: ClassVar = "Evaluation"
    evals: Annotated[
        list[str],
        Option("--eval", help="held-out conversations, FILE or NAME[:METRIC[:KEY=VALUE...]]=FILE (docs/evaluation.md); repeat"),
    ]

    @property
    def files(self) -> list[str]:
        """The paths, without what stands before them."""
        from curate.evaluation.grammar import parse_eval

        return [parse_eval(text)[1] for text in self.evals]

    def tasks(self) -> Any:
        """The tasks, in the order given."""
        from curate.evaluation.grammar import parse_eval
        from curate.preparation import as_pool

        heads = [parse_eval(text) for text in self.evals]
        names = [head.name for head, _ in heads]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"two evaluation sets are called {name!r}; give each its own name, NAME=FILE")
        return [head.task(file, as_pool) for head, file in heads]


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Where and how the work is done. Raises InputError for a device, dtype or runner that there is not."""

    panel: ClassVar = "Engine"
    store: Annotated[Path | None, Option("--store", help="where results are kept (else $CURATE_STORE or ~/.cache/curate)")] = None
    device: Annotated[str, Option("--device", help="auto, cpu, cuda, mps")] = "auto"
    dtype: Annotated[str, Option("--dtype", help="of scoring passes: auto, float32, bfloat16, float16")] = "auto"
    threads: Annotated[int | None, Option("--threads", min=1, help="torch threads [dim](default: all cores)[/]")] = None
    max_length: Annotated[int | None, Option("--max-length", min=2, help="tokens a conversation is cut to")] = None
    refit: Annotated[str, Option("--refit", help="fits for a pool that has changed: never, drift (over a tenth), always")] = (
        "drift"
    )
    trust_remote_code: Annotated[
        bool, Option("--trust-remote-code", help="run the code that a model's own folder brings; only for models you trust")
    ] = False
    runner: Annotated[
        str,
        Option("--runner", help="local; prefect: the same jobs as a Prefect flow; dask: that on a cluster"),
    ] = "local"
    workers: Annotated[
        int | None,
        Option("--workers", min=1, help="of the Dask cluster started on this machine [dim](default: 2)[/]"),
    ] = None
    cluster: Annotated[str | None, Option("--cluster", metavar="ADDRESS", help="of a Dask cluster that runs")] = None

    def __post_init__(self) -> None:
        from curate.lm.models import resolve_dtype

        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", self.device):
            raise InputError(f"device {self.device!r} is not one of auto, cpu, cuda, cuda:N, mps")
        resolve_dtype(self.dtype, "cpu")
        if self.runner not in ("local", "prefect", "dask"):
            raise InputError(f"runner {self.runner!r} is not one of local, prefect, dask")
        for option, given in (("--workers", self.workers), ("--cluster", self.cluster)):
            if given is not None and self.runner != "dask":
                raise InputError(f"{option} goes with --runner dask")
        if self.workers is not None and self.cluster is not None:
            raise InputError("--workers is of a cluster that is started, and --cluster names one that runs: not both")

    @property
    def settings(self) -> dict[str, Any]:
        """What `curate.Engine` takes beside the store."""
        names = ("device", "dtype", "max_length", "refit", "trust_remote_code")
        return {name: getattr(self, name) for name in names}

    @property
    def spread(self) -> Mapping[str, Any] | None:
        """The fields of the `flows.cluster.Cluster` that is asked for; None where none is."""
        if self.runner != "dask":
            return None
        return {"workers": self.workers or 2, "address": self.cluster, "threads": self.threads}

    def make(self) -> Any:
        """A `curate.Engine` by these options."""
        if self.threads:
            os.environ["OMP_NUM_THREADS"] = str(self.threads)  # before torch is imported
        import curate

        return curate.Engine(store=curate.Store(self.store), **self.settings)

    def unusable(self, pool: Any, *models: str | None) -> Sequence[Any]:
        """The rows that one of the models cannot use; the first model is the embedded one where it is None."""
        from curate.preparation import as_model, unusable_rows

        engine, failed = self.make(), {}
        for spec in dict.fromkeys(as_model(name) for name in (models[:1] + tuple(filter(None, models[1:])))):
            failed.update(engine.add("pool", pool, spec)[2])
        return unusable_rows(pool, failed)

    def run(self, verb: str, **arguments: Any) -> Any:
        """Call a public function of the library with an engine made from the options, or the flow of that name."""
        if self.threads:
            os.environ["OMP_NUM_THREADS"] = str(self.threads)
        if self.runner != "local":
            from flows import run_flow

            options = {**self.settings, "store": None if self.store is None else str(self.store)}
            return run_flow(verb, options, arguments, self.spread)
        import curate

        return getattr(curate, verb)(engine=self.make(), **arguments)


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    panel: ClassVar = "Output"
    as_json: Annotated[bool, Option("--json", help="print one JSON object on standard output and nothing else there")] = False
    debug: Annotated[bool, Option("--debug", help="show the traceback of an error")] = False


@dataclass(frozen=True, kw_only=True)
class OutputOptions(ReportOptions):
    """A report, and a folder of results."""

    out: Annotated[Path, Option("--out", "-o", help="output folder")]
    overwrite: Annotated[bool, Option("--overwrite", help="replace the output folder")] = False

    def check(self, *keep: str | Path | None) -> None:
        """Raise InputError when the results could not be written. keep: inputs that --overwrite must not remove."""
        from curate.files import check_output

        check_output(self.out, overwrite=self.overwrite, keep=keep)


@dataclass(frozen=True, kw_only=True)
class PlannedOutput(OutputOptions):
    """Results in a folder, or only what making them would take."""

    out: Annotated[Path | None, Option("--out", "-o", help="output folder")] = None  # type: ignore[assignment]
    plan: Annotated[bool, Option("--plan", help="print what would run, with tokens, memory and time, and stop")] = False

    def check(self, *keep: str | Path | None) -> None:
        if self.plan:
            return
        if self.out is None:
            raise InputError("name a folder for the results with --out, or pass --plan")
        super().check(*keep)

    def show_plan(self, planned: Mapping[str, Any]) -> None:
        """Print what `curate.report.plans` found."""
        if self.as_json:
            return print_json(planned)
        from curate.report.plans import show_plan

        show_plan(console(), planned)


def key_values(given: Sequence[str] | None, option: str) -> dict[str, str]:
    """The pairs of an option that is repeated, key=value. Raises InputError for what is no pair."""
    pairs = {}
    for text in given or ():
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InputError(f"{option} {text!r}: write key=value")
        pairs[key] = value
    return pairs


def _similarity(given: str | None) -> float | None:
    """0.8, or 80%."""
    if given is None:
        return None
    number, percent = given.removesuffix("%"), given.endswith("%")
    try:
        similarity = float(number) / (100 if percent else 1)
    except ValueError:
        raise InputError(f"--near-duplicates {given!r}: write a similarity, such as 0.8 or 80%") from None
    if not 0 < similarity <= 1:
        said = f"the similarity must be above 0 and at most 1, not {similarity:g}; write 0.8 or 80%"
        raise InputError(f"--near-duplicates {given!r}: {said}")
    return similarity


def _cap(given: Sequence[str] | None) -> int | dict[str, int] | None:
    """A number for every source, numbers by source, or both: then the general one is under `EVERY_OTHER`."""
    from curate.pool.refinement import EVERY_OTHER

    general = [text for text in given or () if "=" not in text]
    if len(general) > 1:
        raise InputError(f"--cap {general[1]!r}: there is a cap for every source already, {general[0]}; write SOURCE=N")
    counts = _counts([text for text in given or () if "=" in text], "--cap", "N or SOURCE=N")
    if not general:
        return counts or None
    most = _whole(general[0], "--cap", general[0])
    return {EVERY_OTHER: most, **counts} if counts else most


def _repeat(given: Sequence[str] | None) -> dict[str, int]:
    return _counts(given, "--repeat", "SOURCE=K, such as maths=3")


def _counts(given: Sequence[str] | None, option: str, form: str) -> dict[str, int]:
    """Sources and numbers, SOURCE=N; a source may have an = in its name."""
    counts: dict[str, int] = {}
    for text in given or ():
        source, equals, number = text.rpartition("=")
        if not equals or not source:
            raise InputError(f"{option} {text!r}: write {form}")
        if source in counts:
            raise InputError(f"{option} {text!r}: there is a number for {source!r} already")
        counts[source] = _whole(number, option, text)
    return counts


def _whole(number: str, option: str, text: str) -> int:
    if not number.isdecimal() or int(number) < 1:
        raise InputError(f"{option} {text!r}: {number!r} is not a whole number of at least 1")
    return int(number)
