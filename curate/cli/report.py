"""`curate report`."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from curate.cli.expand import Only
from curate.cli.options import ReportOptions
from curate.cli.terminal import print_json, say_written


def report(
    folder: Annotated[Path, Argument(metavar="DIR", help="an output folder of compare, conclude, select or score")],
    output: Annotated[ReportOptions, Only("as_json", "debug")],
    out: Annotated[Path | None, Option("--out", "-o", help="the page [dim](default: report.html in DIR)[/]")] = None,
    open_: Annotated[bool, Option("--open", help="show it in the browser")] = False,
) -> None:
    """Make one HTML page about results: the verdict, its charts, and what was kept and dropped. Nothing is computed again.

    The page needs no network and runs no script. `curate compare` and `curate demo` write one by themselves.

    Example: curate report verdict/ --open
    """
    from curate.report.page import write_report

    written = write_report(folder, out)
    print_json({"out": str(written), "bytes": written.stat().st_size}) if output.as_json else say_written(written)
    if open_:
        import webbrowser

        webbrowser.open(written.absolute().as_uri())
