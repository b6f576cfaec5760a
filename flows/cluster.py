"""Pieces of jobs on the workers of a Dask cluster, through Prefect's task runner."""

import importlib.util
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import cloudpickle
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import TaskRunner

from curate.errors import InputError
from curate.jobs import Job, Piece
from flows.executor import RETRIES, PrefectExecutor
from flows.worker import Account, Settings, work

WAITING = 64  # pieces that are with the cluster at once; one is about a megabyte
SPREAD = ("pass", "gradients")  # kinds of jobs that are nothing but pieces
NO_SERVER = (
    "the workers of a cluster report to a Prefect server: run `prefect server start --host ADDRESS`, and name it here by "
    "PREFECT_API_URL=http://ADDRESS:4200/api"
)


@dataclass(frozen=True)
class Cluster:
    """Where pieces run. Raises InputError where Dask is not installed.

    workers  of the local cluster that is started where there is no address.
    address  of the cluster's scheduler: tcp://HOST:8786.
    threads  of torch in each worker; None: an equal share of this machine's cores for local workers, else the worker's own.
    """

    workers: int = 2
    address: str | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if importlib.util.find_spec("prefect_dask") is None:
            raise InputError("--runner dask needs prefect-dask: pip install 'curate[dask]'")

    @property
    def worker_threads(self) -> int | None:
        if self.threads is not None or self.address is not None:
            return self.threads
        return max(1, (os.cpu_count() or 1) // self.workers)

    def task_runner(self) -> TaskRunner[Any]:
        """The one that submits to this cluster, and starts it where it is a local one."""
        from prefect_dask import DaskTaskRunner

        logging.getLogger("distributed").setLevel(logging.WARNING)  # which sets it to INFO when it is imported
        local = {"n_workers": self.workers, "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None}
        return DaskTaskRunner(address=self.address) if self.address else DaskTaskRunner(cluster_kwargs=local)

    def server(self) -> AbstractContextManager[Any]:
        """Prefect's server as the workers reach it; without one named, one of this run's own for workers on this machine.

        Raises InputError where workers may be on other machines and no server is named.
        """
        if PREFECT_API_URL.value():
            return nullcontext()
        if self.address is not None:
            raise InputError(NO_SERVER)
        from prefect.server.api.server import SubprocessASGIServer

        # Left to themselves all workers would start one each.
        server = SubprocessASGIServer()
        server.start()
        return temporary_settings({PREFECT_API_URL: server.api_url})


@task(name="piece", task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False, **RETRIES)
def run_piece(name: str, packed: bytes) -> Account:
    """Do a piece in the process of a worker. packed: its settings and itself; as bytes, which Prefect does not look into."""
    return work(*cloudpickle.loads(packed))


class ClusterExecutor(PrefectExecutor):
    """Runs jobs as tasks in this process, but for their pieces, which are tasks of the cluster's workers."""

    elsewhere = True

    def __init__(self, device: str, cluster: Cluster) -> None:
        super().__init__(device)
        self.cluster = cluster

    def run(self, jobs: Sequence[Job]) -> list[Any]:
        # A task's own parameters would go with each of its pieces.
        return [job.run() if job.kind in SPREAD else super(ClusterExecutor, self).run([job])[0] for job in jobs]

    def spread(self, pieces: Iterable[Piece], engine: Any, advance: Callable[[int], None]) -> Iterator[Any]:
        settings = Settings.of(engine, self.cluster.worker_threads)
        left, waiting = iter(pieces), deque[Any]()
        while True:
            while len(waiting) < WAITING and (piece := next(left, None)) is not None:
                waiting.append(self._submit(settings, piece))
            if not waiting:
                return
            account: Account = waiting.popleft().result()
            engine.stages += account.stages
            for note in account.notes:
                engine.note(note)
            advance(account.units)
            yield account.result

    def _submit(self, settings: Settings, piece: Piece) -> Any:
        context = FlowRunContext.get()
        assert context is not None
        with context.model_copy(update={"parameters": {}}):  # they hold pools, and would go with each piece
            return run_piece.with_options(name=piece.kind).submit(piece.name, cloudpickle.dumps((settings, piece)))


def executor(device: str, cluster: Cluster | None) -> PrefectExecutor:
    """What runs the jobs of a flow."""
    return PrefectExecutor(device) if cluster is None else ClusterExecutor(device, cluster)
