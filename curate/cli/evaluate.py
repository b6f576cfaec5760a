"""`curate evaluate`."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from curate.cli.expand import Only
from curate.cli.options import EngineOptions, EvalOptions, ModelOptions, ReportOptions
from curate.cli.terminal import console, print_json, say_written
from curate.errors import InputError


def evaluate(
    evals: EvalOptions, models: Annotated[ModelOptions, Only("model")],
    engine: Annotated[EngineOptions, Only("store", "device", "threads", "max_length", "trust_remote_code")],
    report: ReportOptions,
    which: Annotated[str | None, Argument(metavar="[MODEL]", help="the model, as with --model")] = None,
    out: Annotated[Path | None, Option("--out", "-o", help="output folder: results.json, items.parquet")] = None,
    overwrite: Annotated[bool, Option("--overwrite", help="replace the output folder")] = False,
) -> None:  # fmt: skip
    """Measure a model on held-out conversations: the mean over sources, each source, and 95% intervals.

    Example: curate evaluate tuned/ --eval dev.jsonl --eval sums:exact_match:extractor=gsm8k=gsm8k.parquet --out results/
    """
    if which is not None and models.model is not None:
        raise InputError("name the model once, as MODEL or with --model")
    model = which if which is not None else models.model
    if out is not None:
        from curate.files import check_output

        check_output(out, overwrite=overwrite, keep=(*evals.files, model, engine.store))
    found = engine.run("evaluate", evals=evals.tasks(), model=model)
    if out is not None:
        found.write(out, overwrite=overwrite)
    if report.as_json:
        return print_json({**found.to_json(), "out": None if out is None else str(out)})
    from curate.report.terminal import show_evaluation

    console().print(show_evaluation(found))
    if out is not None:
        say_written(out)
