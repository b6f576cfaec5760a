"""Jobs as Prefect tasks: one coarse task per pass, fit, selection and arm."""

from collections.abc import Sequence
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from curate.jobs import InTurn, Job
from flows.limits import training_slot


def _can_heal(_task: Any, _run: Any, state: Any) -> bool:
    """Retry what may pass by itself (a full disk, a lost file system), and nothing that would cost hours to fail again."""
    return isinstance(state.result(raise_on_failure=False), OSError)


RETRIES: Any = {"retries": 2, "retry_delay_seconds": [2, 10], "retry_condition_fn": _can_heal}


# The store is the only cache; results stay in this process.
@task(name="job", task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False, **RETRIES)
def run_job(name: str, job: Job, device: str) -> Any:
    """Run one job; one that trains waits until the device is free of other trainings."""
    with training_slot(job.kind, device):
        return job.run()


class PrefectExecutor(InTurn):
    """Runs jobs one after the other as tasks of the flow around it: one device, one job at a time."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def run(self, jobs: Sequence[Job]) -> list[Any]:
        return [run_job.with_options(name=job.kind)(job.name, job, self.device) for job in jobs]
