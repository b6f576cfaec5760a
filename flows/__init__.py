"""Prefect flows: the library's jobs, run as tasks with names, retries and artifacts. Needed by nothing below."""

import os
from collections.abc import Mapping
from typing import Any

# Set before Prefect is imported: it must not call out.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")  # its 20 are too few on a busy machine


def run_flow(verb: str, engine: Mapping[str, Any], arguments: Mapping[str, Any]) -> Any:
    """Run a verb of the library (a key of `flows.verbs.FLOWS`) as a flow and give its result.

    engine: the options of `curate.Engine`, `store` as a path. What the flow raises is raised here.
    """
    from flows.verbs import FLOWS

    return FLOWS[verb](dict(engine), dict(arguments))
