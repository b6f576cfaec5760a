"""`curate conclude`."""

from typing import Annotated

from typer import Argument, Option

from curate.cli.options import OutputOptions
from curate.cli.terminal import console, print_json, say_report, say_written


def conclude(
    verdicts: Annotated[list[str], Argument(help="folders that `curate compare` wrote")],
    output: OutputOptions,
    margin: Annotated[float | None, Option(help="what counts as equivalent; by default as in the first")] = None,
    confidence: Annotated[float | None, Option(help="of intervals and tests; by default as in the first")] = None,
) -> None:
    """One verdict from those of several comparisons: other seeds, other methods, other machines. Nothing is trained.

    They share the pool, models, budgets, training settings and evaluation sets. What lacks a seed is left out, and said.

    Example: curate conclude verdict-seed0/ verdict-seed1/ verdict-seed2/ --out verdict/
    """
    from curate.comparison import conclude as concluded
    from curate.report.page import write_report
    from curate.report.terminal import show_verdict

    output.check(*verdicts)
    verdict = concluded(verdicts, margin=margin, confidence=confidence)
    verdict.write(output.out, overwrite=output.overwrite)
    page = write_report(output.out)
    if output.as_json:
        return print_json(verdict.to_json())
    console().print(show_verdict(verdict))
    say_written(output.out)
    say_report(page)
