"""The command line: a few lines per verb. Everything heavy is imported inside the command that needs it."""

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import typer

from curate.errors import CurateError, InputError, first_fault

INTERRUPTED = 130  # what shells call Ctrl-C; typer may have turned the exception into this code
USAGE_ERROR: Any = typer.BadParameter.__base__  # click's, or that of the click inside typer

app = typer.Typer(
    name="curate",
    help="Choose the data a language model is fine-tuned on, and find out whether the choice beats random.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Pools = Annotated[list[str], typer.Argument(metavar="POOL...", help="files, folders, globs, or a hub dataset org/name")]
ModelOpt = Annotated[str | None, typer.Option("--model", help="model to train: a folder or hub name [dim](default: embedded)[/]")]
ScorerOpt = Annotated[str | None, typer.Option("--scorer-model", help="model that scores, when it is another one")]
OutOpt = Annotated[Path, typer.Option("--out", "-o", help="output folder")]
MethodsOpt = Annotated[str, typer.Option("--methods", "--method", "-m", help="names, with commas; name:key=value sets a setting")]
SetOpt = Annotated[list[str] | None, typer.Option("--set", help="a setting of the method, key=value; repeat")]
TargetOpt = Annotated[str | None, typer.Option("--target", help="examples of what the model should become good at")]
ExistingOpt = Annotated[str | None, typer.Option("--existing", help="what the model was trained on already")]
MapOpt = Annotated[list[str] | None, typer.Option("--map", help="name a column by hand, canonical=yours; repeat")]
LimitOpt = Annotated[int | None, typer.Option("--limit", min=1, help="read the first N rows only")]
StoreOpt = Annotated[Path | None, typer.Option("--store", help="where results are kept (else $CURATE_STORE or ~/.cache/curate)")]
SeedOpt = Annotated[int, typer.Option("--seed", min=0)]
DeviceOpt = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, mps")]
DtypeOpt = Annotated[str, typer.Option("--dtype", help="of scoring passes: auto, float32, bfloat16, float16")]
ThreadsOpt = Annotated[int | None, typer.Option("--threads", min=1, help="torch threads [dim](default: all cores)[/]")]
LengthOpt = Annotated[int | None, typer.Option("--max-length", min=2, help="tokens a conversation is cut to")]
RefitOpt = Annotated[str, typer.Option("--refit", help="fits for a pool that has changed: never, drift (over a tenth), always")]
RunnerOpt = Annotated[str, typer.Option("--runner", help="local, or prefect: the same jobs as a Prefect flow")]
JsonOpt = Annotated[bool, typer.Option("--json", help="print one JSON object on standard output and nothing else there")]
StrictOpt = Annotated[bool, typer.Option("--strict", help="stop when any row cannot be used")]
OverwriteOpt = Annotated[bool, typer.Option("--overwrite", help="replace the output folder")]
DebugOpt = Annotated[bool, typer.Option("--debug", help="show the traceback of an error")]
TruthOpt = Annotated[str | None, typer.Option("--truth", help="column that names planted defects, to judge the scores by")]
EvalOpt = Annotated[
    list[str], typer.Option("--eval", help="held-out conversations, FILE, NAME=FILE or NAME:exact_match=FILE; repeat")
]
AdapterOpt = Annotated[str | None, typer.Option("--adapter", help="of trainings: lora, or none to train every weight")]
RateOpt = Annotated[float | None, typer.Option("--learning-rate", "--lr", help="of trainings, at its peak")]
BatchOpt = Annotated[int | None, typer.Option("--batch-tokens", min=1, help="of trainings: tokens in a batch")]


# Shared between verbs -------------------------------------------------------------------------------------------------


class _Engine:
    """The options that make an engine, collected while a command starts."""

    def __init__(self, store: Path | None, device: str, dtype: str, threads: int | None, length: int | None, refit: str) -> None:
        from curate.lm.models import resolve_dtype

        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
            raise InputError(f"device {device!r} is not one of auto, cpu, cuda, cuda:N, mps")
        resolve_dtype(dtype, "cpu")
        self.options: dict[str, Any] = {"device": device, "dtype": dtype, "max_length": length, "refit": refit}
        self.store, self.threads = store, threads

    def run(self, runner: str, verb: str, **arguments: Any) -> Any:
        """Call a public function of the library with an engine made from the options, or the flow of that name."""
        if runner not in ("local", "prefect"):
            raise InputError(f"runner {runner!r} is not one of local, prefect")
        if self.threads:
            os.environ["OMP_NUM_THREADS"] = str(self.threads)  # before torch is imported
        settings = {**self.options, "store": None if self.store is None else str(self.store)}
        if runner == "prefect":
            from flows import run_flow

            return run_flow(verb, settings, arguments)
        import curate

        engine = curate.Engine(store=curate.Store(self.store), **self.options)
        return getattr(curate, verb)(engine=engine, **arguments)


def _read(paths: Sequence[str], mapping: Sequence[str] | None, limit: int | None, strict: bool) -> Any:
    from curate.pool import read_pool
    from curate.selection import selected_data

    pool = read_pool([selected_data(path) for path in paths], columns=_pairs(mapping, "--map"), limit=limit)
    if strict and pool.report.rejected:
        first = pool.report.rejected[0]
        count = len(pool.report.rejected)
        rows = "1 row" if count == 1 else f"{count:,} rows"
        raise InputError(f"--strict: {rows} rejected, the first in {first.file} line {first.line}: {first.reason}")
    return pool


def _pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    pairs = {}
    for text in given or ():
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InputError(f"{option} {text!r}: write key=value")
        pairs[key] = value
    return pairs


def _evals(given: Sequence[str]) -> Any:
    """Tasks from NAME[:METRIC[:EXTRACTOR]]=FILE, or a file alone, which is named for itself."""
    from curate.evaluation.tasks import Task
    from curate.selection import as_pool

    tasks: dict[str, Task] = {}
    for text in given:
        head, equals, path = text.partition("=")
        if not equals or Path(text).exists():
            head, path = Path(text).name.split(".")[0], text
        name, *how = head.split(":")
        if not name:
            raise InputError(f"--eval {text!r}: give the set a name, NAME=FILE")
        if name in tasks:
            raise InputError(f"two evaluation sets are called {name!r}; give each its own name, NAME=FILE")
        if len(how) > 2:
            raise InputError(f"--eval {text!r}: write NAME:METRIC:EXTRACTOR=FILE")
        tasks[name] = Task(name, as_pool(path), *how)  # type: ignore[arg-type]
    return list(tasks.values())


def _recipe(**given: Any) -> Any:
    from pydantic import ValidationError

    from curate.training.config import TrainConfig

    try:
        return TrainConfig(**{key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        raise InputError(first_fault(error.errors(), "training setting")) from None


def _console(stderr: bool = False) -> Any:
    from rich.console import Console

    return Console(stderr=stderr, soft_wrap=False)


def _json(value: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(_finite(value), default=str, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    """JSON has no NaN: numbers that are not finite become null."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value


# Verbs ----------------------------------------------------------------------------------------------------------------


@app.command()
def methods(as_json: JsonOpt = False) -> None:
    """List the methods: what each asks for, what it costs, and its paper."""
    from curate.report.catalogue import catalogue, show_catalogue

    found = catalogue()
    _json({"methods": found}) if as_json else show_catalogue(_console(), found)


@app.command()
def inspect(
    pool: Pools, model: ModelOpt = None, examples: Annotated[int, typer.Option(min=0, help="conversations to show")] = 2,
    mapping: MapOpt = None, limit: LimitOpt = None, max_length: LengthOpt = None, store: StoreOpt = None,
    as_json: JsonOpt = False, strict: StrictOpt = False, debug: DebugOpt = False,
) -> None:  # fmt: skip
    """Look at a pool: shapes, sources, lengths, problems, and conversations with what is learned from in colour."""
    from curate.report.inspection import inspect_pool, show_inspection

    engine = _Engine(store, "cpu", "auto", None, max_length, "drift")
    found = inspect_pool(_read(pool, mapping, limit, strict), model, engine.options, engine.store, examples)
    _json(found.summary) if as_json else show_inspection(_console(), found)


@app.command()
def score(
    pool: Pools, methods: MethodsOpt, out: OutOpt, model: ModelOpt = None, target: TargetOpt = None, existing: ExistingOpt = None,
    truth: TruthOpt = None, adapter: AdapterOpt = None, learning_rate: RateOpt = None, batch_tokens: BatchOpt = None,
    mapping: MapOpt = None, limit: LimitOpt = None, store: StoreOpt = None, seed: SeedOpt = 0,
    device: DeviceOpt = "auto", dtype: DtypeOpt = "auto", threads: ThreadsOpt = None, max_length: LengthOpt = None,
    refit: RefitOpt = "drift", runner: RunnerOpt = "local", as_json: JsonOpt = False, strict: StrictOpt = False,
    overwrite: OverwriteOpt = False, debug: DebugOpt = False,
) -> None:  # fmt: skip
    """Score every row by one or more methods that share their passes: scores.parquet, a column per method."""
    from curate.files import check_output
    from curate.report.scores import show_scores
    from curate.report.truth import judge
    from curate.truth import defects

    check_output(out, overwrite=overwrite, keep=[*pool, target, existing, store])
    engine = _Engine(store, device, dtype, threads, max_length, refit)
    read = _read(pool, mapping, limit, strict)
    if truth:
        defects(read, truth)  # an absent column is said before anything runs
    scores = engine.run(
        runner, "score", pool=read, methods=methods.split(","), model=model, target=target,
        existing=existing, seed=seed,
        recipe=_recipe(adapter=adapter, learning_rate=learning_rate, batch_tokens=batch_tokens),
    )  # fmt: skip
    judged = judge(scores, truth) if truth else None
    scores.write(out, overwrite=overwrite)
    if as_json:
        found = None if judged is None else judged.to_dicts()
        return _json({**scores.counts, "methods": scores.methods, "truth": found, "out": str(out)})
    show_scores(_console(), scores, judged, str(out))


@app.command()
def select(
    pool: Pools, out: OutOpt, budget: Annotated[str, typer.Option("--budget", "-b", help="1000, 10%, or 2M tokens")],
    method: Annotated[str, typer.Option("--method", "-m", help="see `curate methods`")] = "lobass", settings: SetOpt = None,
    model: ModelOpt = None, scorer_model: ScorerOpt = None, target: TargetOpt = None, existing: ExistingOpt = None,
    fill: Annotated[str, typer.Option(help="when too few rows have a score: none, random")] = "none",
    shape: Annotated[str, typer.Option(help="of the exported data: original, messages")] = "original",
    adapter: AdapterOpt = None, learning_rate: RateOpt = None, batch_tokens: BatchOpt = None, mapping: MapOpt = None,
    limit: LimitOpt = None, store: StoreOpt = None, seed: SeedOpt = 0, device: DeviceOpt = "auto",
    dtype: DtypeOpt = "auto", threads: ThreadsOpt = None, max_length: LengthOpt = None, refit: RefitOpt = "drift",
    runner: RunnerOpt = "local",
    show_plan: Annotated[bool, typer.Option("--plan", help="print what would run, and stop")] = False,
    as_json: JsonOpt = False, strict: StrictOpt = False, overwrite: OverwriteOpt = False, debug: DebugOpt = False,
) -> None:  # fmt: skip
    """Pick a subset by a method, ready for any trainer.

    Example: curate select pool.jsonl --method lobass --budget 10% --out picked/
    """
    from curate.budget import Budget
    from curate.files import check_output
    from curate.registry import make_method

    if "," in method:
        raise InputError(f"select takes one method, not {method!r}; `curate compare` takes several")
    parsed, chosen = Budget.parse(budget, strict=True), make_method(method, _pairs(settings, "--set"))
    if shape not in ("original", "messages"):
        raise InputError(f"shape {shape!r} is not one of original, messages")
    if not show_plan:
        check_output(out, overwrite=overwrite, keep=[*pool, target, existing, store])
    recipe = _recipe(adapter=adapter, learning_rate=learning_rate, batch_tokens=batch_tokens)
    engine = _Engine(store, device, dtype, threads, max_length, refit)
    read = _read(pool, mapping, limit, strict)
    if show_plan:
        from curate.report.plans import plan_table
        from curate.report.plans import show_plan as show

        asked = {"model": scorer_model or model, "recipe": recipe, "seed": seed}
        lines = plan_table(read, [chosen], options=engine.options, store=store, **asked)
        return _json({"plan": lines}) if as_json else show(_console(), lines)
    selection = engine.run(
        runner, "select", pool=read, method=chosen, budget=parsed, model=model, scorer_model=scorer_model, target=target,
        existing=existing, seed=seed, fill=fill, recipe=recipe, command=["curate", *sys.argv[1:]],
    )  # fmt: skip
    if not len(selection):
        raise InputError(f"a budget of {parsed} picks none of the {selection.summary['rows_pool']:,} rows; give a larger one")
    selection.write(out, shape=shape, overwrite=overwrite)
    if as_json:
        return _json({**selection.summary, "out": str(out)})
    from curate.report.terminal import show_selection

    _console().print(show_selection(selection.summary, str(out)))


@app.command()
def train(
    pool: Pools, out: OutOpt, model: ModelOpt = None,
    epochs: Annotated[float | None, typer.Option(help="passes over the rows (default 1)")] = None,
    steps: Annotated[int | None, typer.Option(help="optimizer steps, instead of epochs")] = None,
    tokens: Annotated[int | None, typer.Option(help="processed tokens, instead of epochs")] = None,
    adapter: AdapterOpt = None, learning_rate: RateOpt = None, batch_tokens: BatchOpt = None, mapping: MapOpt = None,
    limit: LimitOpt = None, store: StoreOpt = None, seed: SeedOpt = 0, device: DeviceOpt = "auto", threads: ThreadsOpt = None,
    max_length: LengthOpt = None, as_json: JsonOpt = False, strict: StrictOpt = False, overwrite: OverwriteOpt = False,
    debug: DebugOpt = False,
) -> None:  # fmt: skip
    """Fine-tune a model on a pool or a selection; the output is a folder that transformers loads."""
    from curate.files import check_output

    check_output(out, overwrite=overwrite, keep=[*pool, model, store])
    recipe = _recipe(
        epochs=epochs, steps=steps, tokens=tokens, adapter=adapter, learning_rate=learning_rate, batch_tokens=batch_tokens,
        seed=seed,
    )  # fmt: skip
    engine = _Engine(store, device, "auto", threads, max_length, "drift")
    read = _read(pool, mapping, limit, strict)
    account = engine.run("local", "train", pool=read, out=out, model=model, recipe=recipe, overwrite=overwrite)
    if as_json:
        return _json({**account, "out": str(out)})
    _console().print(
        f"trained on {account['rows']:,} rows, {account['tokens']:,} tokens ({account['loss_tokens']:,} in the loss), "
        f"{account['epochs']:.2f} epochs, {account['steps']} steps, {account['seconds']:.0f} s\n"
        f"training loss of the first batch {account['first_loss']:.3f}, of the last {account['last_loss']:.3f} nats per token\n"
        f"written {out}", highlight=False,
    )  # fmt: skip


@app.command()
def evaluate(
    evals: EvalOpt, model: ModelOpt = None, store: StoreOpt = None, device: DeviceOpt = "auto", threads: ThreadsOpt = None,
    max_length: LengthOpt = None, as_json: JsonOpt = False, debug: DebugOpt = False,
) -> None:  # fmt: skip
    """Evaluate a model on held-out conversations: response loss, by source and as their mean."""
    engine = _Engine(store, device, "auto", threads, max_length, "drift")
    frame = engine.run("local", "evaluate", evals=_evals(evals), model=model)
    if as_json:
        return _json({"results": frame.to_dicts()})
    from curate.report.terminal import show_frame

    show_frame(_console(), frame.with_columns(source=frame["source"].fill_null("mean over sources")), "", limit=100)


@app.command()
def compare(
    pool: Pools, methods: MethodsOpt, out: OutOpt, evals: EvalOpt,
    budget: Annotated[str, typer.Option("--budget", "-b", help="one or more, with commas: 5%,10%")] = "10%",
    seeds: Annotated[int, typer.Option(min=1, help="how many; 3 at least, better 5")] = 3,
    tokens: Annotated[int | None, typer.Option(min=1, help="processed tokens of each training")] = None,
    epochs: Annotated[float | None, typer.Option(help="instead: epochs of the largest budget (default 3)")] = None,
    model: ModelOpt = None, scorer_model: ScorerOpt = None, target: TargetOpt = None, existing: ExistingOpt = None,
    full: Annotated[bool, typer.Option("--full/--no-full", help="also train on the whole pool")] = True,
    margin: Annotated[float, typer.Option(help="what counts as equivalent, as a fraction of random's metric")] = 0.01,
    adapter: AdapterOpt = None, learning_rate: RateOpt = None, batch_tokens: BatchOpt = None, truth: TruthOpt = None,
    mapping: MapOpt = None, limit: LimitOpt = None, store: StoreOpt = None, seed: SeedOpt = 0, device: DeviceOpt = "auto",
    dtype: DtypeOpt = "auto", threads: ThreadsOpt = None, max_length: LengthOpt = None, refit: RefitOpt = "drift",
    runner: RunnerOpt = "local", as_json: JsonOpt = False, strict: StrictOpt = False, overwrite: OverwriteOpt = False,
    debug: DebugOpt = False,
) -> None:  # fmt: skip
    """Train on each method's picks and on random picks, at equal tokens, and say which are better.

    random, balanced (random by source) and longest are always in: a method that does not beat them is not worth its cost.

    Example: curate compare pool.jsonl --methods lobass,longest --budget 5%,10% --seeds 5 --eval dev.jsonl --out verdict/
    """
    from curate.budget import Budget
    from curate.files import check_output

    held_out = [text.rpartition("=")[2] for text in evals]
    check_output(out, overwrite=overwrite, keep=[*pool, *held_out, target, existing, store])
    budgets = [Budget.parse(text, strict=True) for text in budget.split(",")]
    recipe = _recipe(adapter=adapter, learning_rate=learning_rate, batch_tokens=batch_tokens)
    engine = _Engine(store, device, dtype, threads, max_length, refit)
    read = _read(pool, mapping, limit, strict)
    if truth:
        from curate.report.truth import judge_picks, show_picks_truth
        from curate.truth import defects

        defects(read, truth)  # an absent column is said before anything runs
    verdict = engine.run(
        runner, "compare", pool=read, methods=methods.split(","), budgets=budgets,
        evals=_evals(evals), seeds=seeds, tokens=tokens, epochs=epochs, model=model, scorer_model=scorer_model, target=target,
        existing=existing, full=full, margin=margin, recipe=recipe, seed=seed,
    )  # fmt: skip
    verdict.write(out, overwrite=overwrite)
    if as_json:
        judged = {"truth": judge_picks(verdict, read, truth).to_dicts()} if truth else {}
        return _json({**verdict.to_json(), **judged})
    from curate.report.terminal import show_verdict

    _console().print(show_verdict(verdict))
    if truth:
        _console().print(show_picks_truth(verdict, read, truth))
    _console().print(f"written {out}", highlight=False, markup=False)


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="a YAML file of stages")], out: OutOpt, store: StoreOpt = None,
    device: DeviceOpt = "auto", threads: ThreadsOpt = None, runner: RunnerOpt = "local", as_json: JsonOpt = False,
    overwrite: OverwriteOpt = False, debug: DebugOpt = False,
) -> None:  # fmt: skip
    """Run a recipe: stages that select, train and compare, each on what the one before kept."""
    from curate.files import check_output
    from curate.recipe import read_recipe

    check_output(out, overwrite=overwrite, keep=[recipe, store])
    engine = _Engine(store, device, "auto", threads, None, "drift")
    results = engine.run(runner, "run_recipe", recipe=read_recipe(recipe), out=out, overwrite=overwrite)
    if as_json:
        return _json({"stages": results, "out": str(out)})
    for result in results:
        _console().print(result["text"], highlight=False, markup=False)
    _console().print(f"written {out}", highlight=False, markup=False)


@app.command()
def demo(
    out: OutOpt = Path("demo"), rows: Annotated[int, typer.Option(min=50, help="rows of the sample pool")] = 1200,
    tokens: Annotated[int, typer.Option(min=100, help="training tokens of each arm")] = 10_000,
    seeds: Annotated[int, typer.Option(min=1)] = 3, store: StoreOpt = None, threads: ThreadsOpt = None,
    runner: RunnerOpt = "local", as_json: JsonOpt = False, overwrite: OverwriteOpt = False, debug: DebugOpt = False,
) -> None:  # fmt: skip
    """The whole way on the embedded sample: score, select, train, compare with random, and judge by planted truth."""
    from curate.files import check_output
    from curate.report.demo import run_demo

    for folder in ("verdict", "selection"):
        check_output(out / folder, overwrite=overwrite)
    if store is None and "CURATE_STORE" not in os.environ:
        store = out / "store"
    engine = _Engine(store, "cpu", "auto", threads, None, "drift")
    console = _console(stderr=as_json)
    result = run_demo(console, partial(engine.run, runner), out, rows=rows, tokens=tokens, seeds=seeds, quiet=as_json)
    if as_json:
        _json(result)


def main() -> None:
    """Entry point: 0 done, 2 for usage or input at fault (one sentence), 1 for a fault of ours."""
    sys.exit(_main(sys.argv[1:]))


def _main(arguments: Sequence[str]) -> int:
    debug = "--debug" in arguments
    try:
        with _shown(arguments):
            code = int(app(args=list(arguments), prog_name="curate", standalone_mode=False) or 0)
        return _stopped() if code == INTERRUPTED else code
    except typer.Exit as error:
        return error.exit_code
    except USAGE_ERROR as error:
        if not arguments:  # the help is the answer
            error.show()
            return 2
        where = error.ctx.command_path if error.ctx else "curate"
        return _say(f"{error.format_message().rstrip('.')}; see {where} --help", 2)
    except (typer.Abort, KeyboardInterrupt):
        return _stopped()
    except CurateError as error:
        if debug:
            raise
        return _say(str(error), 2 if isinstance(error, InputError) else 1)
    except OSError as error:
        if debug:
            raise
        return _say(f"{error.filename or 'the file system'}: {error.strerror or error}; what was computed before is kept", 1)
    except Exception as error:
        if debug:
            raise
        return _say(f"a fault in curate: {type(error).__name__}: {error} (--debug shows where)", 1)


def _shown(arguments: Sequence[str]) -> Any:
    if not arguments or {"-h", "--help"} & set(arguments) or arguments[0] == "methods":
        from contextlib import nullcontext

        return nullcontext()
    from curate.display import Terminal
    from curate.progress import shown_on

    return shown_on(Terminal(_console(stderr=True), "--json" in arguments))


def _stopped() -> int:
    return _say("stopped; what was computed is in the store, and the same command goes on from there", INTERRUPTED)


def _say(text: str, code: int) -> int:
    print(f"curate: {text}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
