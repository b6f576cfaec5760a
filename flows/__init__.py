"""Prefect flows: the library's jobs, run as tasks with names, retries and artifacts. Needed by nothing below."""

import os
from collections.abc import Mapping
from typing import Any

# Set before Prefect is imported: it must not call out.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")  # its 20 are too few on a busy machine


def run_flow(verb: str, engine: Mapping[str, Any], arguments: Mapping[str, Any], cluster: Mapping[str, Any] | None = None) -> Any:
    """Run a verb of the library (a key of `flows.verbs.FLOWS`) as a flow and give its result.

    engine: the options of `curate.Engine`, `store` as a path. cluster: the fields of a `flows.cluster.Cluster`, on which pieces
    of its jobs run; None: all in this process. What the flow raises is raised here.
    """
    from flows.verbs import FLOWS

    if cluster is None:
        return FLOWS[verb](dict(engine), dict(arguments))
    from flows.cluster import Cluster

    where = Cluster(**cluster)
    with where.server():
        return FLOWS[verb].with_options(task_runner=where.task_runner())({**engine, "cluster": where}, dict(arguments))
