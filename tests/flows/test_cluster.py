"""Pieces of jobs on the workers of a real local cluster: the same bits as in one process, and nothing done in this one."""

import pickle
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import curate
import curate.comparison.arms
import curate.passes
import curate.work.gradients
import curate.work.passes
import flows
from curate.errors import CurateError, InputError
from curate.store import Damaged
from curate.training.config import TrainConfig
from flows.worker import Account, Settings, work


@pytest.fixture(scope="module")
def dask_address() -> Any:
    """The scheduler of two workers, each a process of its own with one thread."""
    pytest.importorskip("prefect_dask", reason="the extra curate[dask] is not installed")
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


def task_runs(client: Any, flow_name: str) -> Counter[str]:
    """The names of the tasks of the newest run of a flow, each with how often."""
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterId
    from prefect.client.schemas.sorting import FlowRunSort

    runs = client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=[flow_name])), sort=FlowRunSort.START_TIME_DESC)
    tasks = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[runs[0].id])))
    return Counter(task.name for task in tasks)


def without_times(verdict: Any) -> list[dict[str, Any]]:
    return [{key: value for key, value in arm.items() if not key.endswith("_seconds")} for arm in verdict.arms]


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(curate.passes, "SHARD_TOKENS", 150)
    monkeypatch.setattr(curate.work.gradients, "SHARD_TOKENS", 150)


@pytest.fixture
def not_here(monkeypatch):
    """Call it to forbid that this process runs a pass, a gradient or an evaluation."""

    def forbid() -> None:
        def here(*args: Any, **keys: Any) -> None:
            raise AssertionError("this was to run on a worker")

        monkeypatch.setattr(curate.work.passes, "record_part", here)
        monkeypatch.setattr(curate.work.gradients, "record_part", here)
        monkeypatch.setattr(curate.comparison.arms, "evaluate", here)

    return forbid


def test_workers_give_the_bits_of_one_process(dask_address, client, make_pool, tiny, tmp_path, small_shards, not_here):
    pool, held_out = make_pool(range(30)), make_pool(range(100, 103), name="dev.jsonl")
    comparison = {
        "pool": pool, "methods": ["perplexity"], "budgets": ["20%"], "evals": held_out, "seeds": 1, "tokens": 150, "model": tiny,
        "recipe": TrainConfig(batch_tokens=150), "full": False, "controls": (), "matched": "none", "second_rate": None,
    }  # fmt: skip
    selection = {"pool": pool, "method": "dpp", "budget": "20%", "model": tiny}
    engine = curate.Engine(store=curate.Store(tmp_path / "plain"), device="cpu")
    verdict, picked = curate.compare(engine=engine, **comparison), curate.select(engine=engine, **selection)

    not_here()
    options = {"device": "cpu", "store": str(tmp_path / "spread")}
    cluster = {"address": dask_address, "threads": 1}
    found = flows.run_flow("compare", options, comparison, cluster)
    assert without_times(found) == without_times(verdict) and found.headline == verdict.headline
    assert found.selections.equals(verdict.selections)
    done = task_runs(client, "compare")
    assert done["mean_loss of 30 rows of pool by tiny"] == 7  # shards
    assert all(done[arm] == 1 for arm in ("untrained 0 seed 0", "random 20% seed 0", "perplexity 20% seed 0"))
    again = flows.run_flow("select", options, selection, cluster)
    assert again.frame.equals(picked.frame) and again.scores.equals(picked.scores)
    assert task_runs(client, "select")["gradients of 30 rows of pool by tiny"] == 7


@dataclass(frozen=True)
class Told:
    """A piece that says what engine it was given, or raises."""

    error: Exception | None = None
    kind: Any = "pass"
    name: str = "a piece"

    def run(self, engine: Any, advance: Any) -> Any:
        if self.error is not None:
            raise self.error
        advance(2)
        advance(3)
        engine.note("as it is")
        return engine.dtype, engine.batch_tokens, engine.max_length


def test_a_worker_has_the_settings_of_the_engine_whose_pieces_it_does(tmp_path):
    engine = curate.Engine(store=curate.Store(tmp_path), device="cpu", dtype="bfloat16", batch_tokens=64, max_length=99)
    account = work(Settings.of(engine, threads=1), Told())
    assert account == Account(("bfloat16", 64, 99), 5, [], ["as it is"])


@pytest.mark.parametrize(
    ("error", "kind"),
    [(InputError("wrong"), InputError), (Damaged(Path("x"), "gone"), CurateError), (OSError(28, "full"), OSError)],
)
def test_what_a_worker_raises_survives_the_way_back(tmp_path, error, kind):
    with pytest.raises(kind) as caught:
        work(Settings.of(curate.Engine(store=curate.Store(tmp_path), device="cpu"), threads=1), Told(error))
    assert type(caught.value) is kind and str(pickle.loads(pickle.dumps(caught.value))) == str(error)


def test_what_there_is_not_is_refused(monkeypatch):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.cluster import Cluster

    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    with pytest.raises(InputError, match="PREFECT_API_URL"), temporary_settings({PREFECT_API_URL: None}):
        Cluster(address="tcp://host:8786").server()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'curate\[dask\]'"):
        Cluster()


def test_local_workers_share_the_cores(monkeypatch):
    from flows.cluster import Cluster

    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert [Cluster(workers=n).worker_threads for n in (1, 3, 16)] == [8, 2, 1]
    assert Cluster(address="tcp://host:8786").worker_threads is None and Cluster(threads=5).worker_threads == 5
