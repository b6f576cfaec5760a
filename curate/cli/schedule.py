"""`curate schedule`."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from typer import Argument, Option

from curate.cli.expand import Only
from curate.cli.options import EngineOptions, ReportOptions
from curate.cli.terminal import console, print_json, say_written
from curate.errors import InputError
from curate.wording import counted

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, kw_only=True)
class When:
    panel: ClassVar = "When"
    cron: Annotated[
        str | None, Option("--cron", help="minute hour day month weekday, such as '0 3 * * *': each night at three")
    ] = None
    interval: Annotated[str | None, Option("--interval", help="instead: 90s, 30m, 6h, 1d")] = None
    timezone: Annotated[str | None, Option("--timezone", help="of the schedule, such as Europe/Berlin (else UTC)")] = None
    once: Annotated[bool, Option("--once", help="instead: one night now, and no schedule")] = False

    @property
    def every(self) -> timedelta | None:
        """The interval."""
        if self.interval is None:
            return None
        found = re.fullmatch(r"([1-9]\d*)([smhd])", self.interval)
        if found is None:
            raise InputError(f"--interval {self.interval!r}: write a number and s, m, h or d, such as 30m")
        return timedelta(seconds=int(found[1]) * _SECONDS[found[2]])

    def check(self) -> None:
        """Raises InputError unless exactly one time is named, and where it or the time zone cannot be read."""
        named = sum((self.cron is not None, self.interval is not None, self.once))
        if named != 1:
            ways = "--cron '0 3 * * *', --interval 6h, or --once"
            raise InputError(f"say when by only one of {ways}" if named else f"say when: {ways}")
        if self.timezone is not None:
            try:
                ZoneInfo(self.timezone)
            except (ZoneInfoNotFoundError, ValueError, OSError):
                raise InputError(f"--timezone {self.timezone!r} is not a time zone; write one such as Europe/Berlin") from None
        _ = self.every


@dataclass(frozen=True, kw_only=True)
class Instead:
    """Each stands for all that the recipe names of its kind."""

    panel: ClassVar = "Instead of what the recipe names"
    state: Annotated[Path | None, Option("--state", help="folder of what is accepted and of all nights")] = None
    pool: Annotated[list[str] | None, Option("--pool", help="files, folders or globs; repeat")] = None
    evals: Annotated[
        list[str] | None, Option("--eval", help="the gate's held-out conversations, as for `curate compare`; repeat")
    ] = None
    model: Annotated[str | None, Option("--model", help="the model: a folder or hub name")] = None


def schedule(
    recipe: Annotated[str, Argument(help="a nightly recipe: a YAML file, or the name of one that ships")],
    when: When, instead: Instead,
    engine: Annotated[EngineOptions, Only("store", "device", "dtype", "threads", "max_length", "trust_remote_code", "runner")],
    output: ReportOptions,
) -> None:  # fmt: skip
    """Run a nightly recipe on a schedule: choose again when rows have come, and promote what is surely better.

    Example: curate schedule nightly --pool inbox/ --eval dev.jsonl --state nightly/ --cron "0 3 * * *"
    """
    from curate.nightly import read_nightly, replaced, run_night
    from curate.recipe import find_recipe

    when.check()
    if engine.runner == "dask":
        raise InputError("a night runs by --runner local or prefect, not dask")
    file = find_recipe(recipe)
    asked = replaced(
        read_nightly(file), pool=instead.pool or (), evals=instead.evals or (), model=instead.model, state=instead.state
    )
    folder = asked.state_folder
    store = {"store": None if engine.store is None else str(engine.store.absolute())}
    settings = {name: value for name, value in engine.settings.items() if name != "refit"}
    absolute = {
        "state": str(folder),
        "pool": list(asked.pool) if instead.pool else None,
        "evals": [f"{head}={path}" for head, path in asked.gate.evals.items()] if instead.evals else None,
        "model": asked.model if instead.model else None,
    }
    parameters = {"recipe": str(Path(file).absolute()), **absolute, "engine": {**settings, **store}}
    if engine.threads:
        os.environ["OMP_NUM_THREADS"] = str(engine.threads)  # of the processes that nights run in, too
    if not when.once:
        from flows.serving import schedule

        return schedule(parameters, cron=when.cron, interval=when.every, timezone=when.timezone)
    if engine.runner == "prefect":
        from flows.nightly import nightly

        decision = nightly(**parameters)
    else:
        decision = run_night(asked, engine=engine.make()).decision
    if output.as_json:
        return print_json({**decision, "state": str(folder)})
    for line in _said(decision):
        console().print(line, highlight=False, markup=False)
    say_written(folder / "nights" / decision["night"])


def _said(decision: Mapping[str, Any]) -> Iterator[str]:
    """What a night did, for people."""
    yield f"{decision['night']}  {'promoted' if decision['promoted'] else 'not promoted'}: {decision['reason']}"
    yield f"pool      {counted(decision['rows_read'])}, {decision['rows_new']:,} new, {decision['rows_gone']:,} gone"
    if "rows_selected" in decision:
        forwarded = f"{decision['rows_forwarded']:,} rows and {counted(decision['tokens_forwarded'], 'token')}"
        yield f"forwarded {forwarded}; {decision['rows_reused']:,} rows were read from the store"
        kept = f"{decision['rows_kept']:,} of them kept from the accepted selection"
        yield f"candidate {counted(decision['rows_selected'])}, {kept}"
    yield from (f"note: {note}" for note in decision.get("notes", ()))
