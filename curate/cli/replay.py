"""`curate replay`."""

import os
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from curate.cli.expand import Only
from curate.cli.options import EngineOptions, ReportOptions, key_values
from curate.cli.terminal import console, print_json
from curate.errors import InputError

EXIT = {"same": 0, "differs": 1, "cannot": 2}


def replay(
    folder: Annotated[Path, Argument(metavar="DIR", help="an output folder of any verb")],
    engine: Annotated[EngineOptions, Only("store", "threads", "trust_remote_code")], report: ReportOptions,
    out: Annotated[Path | None, Option("--out", "-o", help="keep the new results there; else they are removed")] = None,
    fresh: Annotated[bool, Option("--fresh", help="compute everything anew, and take nothing from the store")] = False,
    changed: Annotated[bool, Option("--changed", help="go on where the pool or a model is no longer what it was")] = False,
    moved: Annotated[list[str] | None, Option("--moved", metavar="OLD=NEW", help="where a folder lies now; repeat")] = None,
    tolerance: Annotated[
        float | None, Option("--tolerance", min=0, help="by how much numbers may differ (1e-4; of half precision 0.02)")
    ] = None,
    device: Annotated[str | None, Option("--device", help="another than then: auto, cpu, cuda, mps")] = None,
    overwrite: Annotated[bool, Option("--overwrite", help="replace the output folder")] = False,
) -> None:  # fmt: skip
    """Do again what made an output folder, and say whether the same comes of it.

    The exit code is 0 where the results are the same, 1 where they differ, 2 where it cannot be done again: then what is
    missing or has changed is said, and nothing is run.

    Example: curate replay picked/
    """
    if fresh and engine.store is not None:
        raise InputError("--fresh computes in a store of its own; leave out --store")
    if engine.threads:
        os.environ["OMP_NUM_THREADS"] = str(engine.threads)  # before torch is imported
    import curate
    from curate.report.replays import show_replay

    places = {str(Path(old).absolute()): str(Path(new).absolute()) for old, new in key_values(moved, "--moved").items()}
    found = curate.replay(
        folder, out=out, store=None if engine.store is None else curate.Store(engine.store.absolute()), fresh=fresh,
        changed=changed, moved=places, tolerance=tolerance, overwrite=overwrite, device=device,
        trust_remote_code=engine.trust_remote_code,
    )  # fmt: skip
    if report.as_json:
        print_json(found.to_json())
    else:
        show_replay(console(), found, str(folder))
    if code := EXIT[found.answer]:
        raise typer.Exit(code)
