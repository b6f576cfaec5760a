"""Serving nightly recipes on a schedule, by Prefect's own `serve`."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from curate.errors import InputError

NO_SERVER = (
    "a schedule needs a Prefect server: run `prefect server start`, and name it here by "
    "PREFECT_API_URL=http://127.0.0.1:4200/api; --once runs a night without one"
)


def schedule(
    parameters: Mapping[str, Any], *, cron: str | None = None, interval: timedelta | None = None, timezone: str | None = None
) -> None:
    """Serve the nightly flow with these parameters until it is stopped: one night at a time, the next when the last has ended.

    Raises InputError for a schedule that is none, and where there is no server.
    """
    from prefect.client.orchestration import get_client
    from prefect.schedules import Cron, Interval
    from prefect.settings import PREFECT_API_URL

    from flows.nightly import nightly

    try:
        when = Cron(cron, timezone=timezone) if cron is not None else Interval(interval or timedelta(days=1), timezone=timezone)
    except ValueError as error:
        raise InputError(f"--cron {cron!r}: {' '.join(str(error).split())}") from None
    if not PREFECT_API_URL.value():
        raise InputError(NO_SERVER)
    with get_client(sync_client=True) as client:
        if (unwell := client.api_healthcheck()) is not None:
            said = " ".join(str(unwell).split())
            raise InputError(f"no Prefect server answers at PREFECT_API_URL, {PREFECT_API_URL.value()}: {said}")
    name = Path(parameters["recipe"]).stem
    said = f"One night after the other of {parameters['recipe']}"
    nightly.serve(name=name, schedule=when, parameters=dict(parameters), description=said, limit=1, tags=["curate"])
