"""One Prefect server for all tests of flows: it takes seconds to start."""

import pytest


@pytest.fixture(scope="session")
def server():
    """A Prefect server of its own for these tests, which nothing outlives."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def client(server):
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        yield client
