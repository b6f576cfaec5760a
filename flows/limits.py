"""One training at a time on a device, whichever flows of a server ask for it."""

import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.settings import PREFECT_API_URL

TRAINING = ("fit", "arm")  # kinds of jobs


def limit_name(device: str) -> str:
    """What the limit of this machine's device is called: under Concurrency in the user interface, where it can be raised.

    A GPU is known by what CUDA_VISIBLE_DEVICES says of it, where that is set: two processes may both call theirs the first.
    """
    kind, _, number = device.partition(":")
    if kind == "cuda":
        visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        at = int(number or 0)
        device = f"cuda-{visible[at] if at < len(visible) else at}"
    return re.sub(r"[^a-z0-9-]+", "-", f"curate-training-{platform.node()}-{device}".lower())


@contextmanager
def training_slot(kind: str, device: str) -> Iterator[None]:
    """Wait until no other flow trains on the device, and hold it. Other kinds of jobs, and runs without a server, do not wait.

    The limit is a global one of the Prefect server, made with one slot where there is none. What is held is a lease, so that of
    a process that was killed it comes back by itself after some five minutes.
    """
    if kind not in TRAINING or not PREFECT_API_URL.value():
        yield
        return
    name = limit_name(device)
    _make(name)
    with concurrency(name, occupy=1, strict=True, raise_on_lease_renewal_failure=False):
        yield


def _make(name: str) -> None:
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            with suppress(ObjectAlreadyExists):  # another flow was faster
                client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))
