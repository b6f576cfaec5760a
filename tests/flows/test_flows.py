"""The same jobs as Prefect tasks: the same results, names that people can read, retries where they help."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

import curate
import flows
from curate.errors import InputError
from curate.jobs import Job
from curate.training.config import TrainConfig


@pytest.fixture
def work(make_pool, tiny, tmp_path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A selection and a comparison of two controls, as arguments of the library's functions."""
    pool = make_pool(range(30))
    held_out = make_pool(range(100, 106), name="dev.jsonl")
    selection = {"pool": pool, "method": "lobass", "budget": "20%", "model": tiny}
    comparison = {
        "pool": pool, "methods": ["perplexity"], "budgets": ["20%"], "evals": held_out, "seeds": 2, "tokens": 150, "model": tiny,
        "recipe": TrainConfig(batch_tokens=150), "full": False,
    }  # fmt: skip
    return selection, comparison


TIMES = {"select_seconds", "train_seconds", "evaluate_seconds"}


def without_times(verdict):
    return [{key: value for key, value in arm.items() if key not in TIMES} for arm in verdict.arms]


def task_runs(client, flow_name: str) -> Counter[str]:
    """The names of the tasks that ran in the newest flow run of this name, each with how often."""
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterId
    from prefect.client.schemas.sorting import FlowRunSort

    runs = client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=[flow_name])), sort=FlowRunSort.START_TIME_DESC)
    assert runs[0].state.is_completed(), runs[0].state
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[runs[0].id]))
    tasks = client.read_task_runs(flow_run_filter=wanted)
    assert all(task.state.is_completed() for task in tasks)
    return Counter(task.name for task in tasks)


def test_flows_do_what_the_plain_loop_does(client, work, tmp_path):
    selection, comparison = work
    engine = curate.Engine(store=curate.Store(tmp_path / "plain"), device="cpu")
    plain, verdict = curate.select(engine=engine, **selection), curate.compare(engine=engine, **comparison)

    options = {"device": "cpu", "store": str(tmp_path / "flow")}
    picked = flows.run_flow("select", options, selection)
    assert picked.frame.equals(plain.frame) and picked.scores.equals(plain.scores)
    assert picked.summary["computed_rows"] == 30
    assert task_runs(client, "select") == Counter(
        {
            "tokenise pool for tiny": 1,
            "fit tiny on 30 rows of pool, seed 0": 1,
            "mean_loss of 30 rows of pool by tiny": 1,
            "mean_loss of 30 rows of pool by the fit tiny on 30 rows of pool, seed 0": 1,
            "select 20% by lobass": 1,
        }
    )

    found = flows.run_flow("compare", options, comparison)
    assert without_times(found) == without_times(verdict) and found.headline == verdict.headline
    assert found.selections.equals(verdict.selections)
    names = task_runs(client, "compare")
    assert set(names.values()) == {1}
    methods = ("random", "balanced", "longest", "perplexity")
    expected = {f"select by {method}, seed {seed}" for method in methods for seed in (0, 1)}
    expected |= {f"train and evaluate {method} 20% seed {seed}" for method in methods for seed in (0, 1)}
    expected |= {"train and evaluate untrained 0 seed 0", "tokenise eval eval for tiny", "verdict"}
    [leader] = {arm["method"] for arm in found.arms if arm["kind"] == "length-matched"}
    expected |= {f"train and evaluate {leader} 20% seed {seed}" for seed in (0, 1)}
    assert set(names) == expected

    artifacts = {artifact.key: artifact for artifact in client.read_artifacts()}
    assert set(artifacts) == {"selection", "verdict", "verdict-table", "verdict-progress"}
    assert artifacts["verdict"].data == found.to_markdown() and artifacts["verdict"].description == found.headline
    rows = json.loads(artifacts["verdict-table"].data)
    assert [row["method"] for row in rows] == [arm["method"] for arm in found.arms]
    assert rows[0]["mean"] == f"{found.arms[0]['mean']:.3f}"
    shown = {row["what"]: row["value"] for row in json.loads(artifacts["selection"].data)}
    assert shown["selected"] == "6" and shown["rows_pool"] == "30"


def in_a_flow(jobs: list[Job]) -> list[Any]:
    from prefect import flow

    from flows.executor import PrefectExecutor

    @flow(name="jobs", validate_parameters=False, persist_result=False)
    def run() -> list[Any]:
        return PrefectExecutor().run(jobs)

    return run()


def failing(times: int, error: Exception) -> tuple[Callable[[], str], list[int]]:
    calls: list[int] = []

    def run() -> str:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return "done"

    return run, calls


def test_what_may_pass_by_itself_is_tried_again(client):
    run, calls = failing(1, OSError(28, "No space left on device"))
    assert in_a_flow([Job("pass", "a pass", run), Job("fit", "a fit", lambda: 7)]) == ["done", 7]
    assert len(calls) == 2
    assert task_runs(client, "jobs") == Counter({"a pass": 1, "a fit": 1})


@pytest.mark.parametrize("error", [InputError("the pool is empty"), RuntimeError("out of memory"), AssertionError("a bug")])
def test_what_would_fail_again_is_not_tried_again(server, error):
    run, calls = failing(9, error)
    with pytest.raises(type(error)) as caught:
        in_a_flow([Job("pass", "a pass", run)])
    assert caught.value is error and len(calls) == 1


def test_input_at_fault_arrives_as_such(server, work, tmp_path):
    selection, _ = work
    options = {"device": "cpu", "store": str(tmp_path / "flow")}
    with pytest.raises(InputError, match="did you mean longest"):
        flows.run_flow("select", options, {**selection, "method": "longset"})
    with pytest.raises(InputError, match="no row of the pool can be used by tiny"):
        flows.run_flow("select", {**options, "max_length": 4}, selection)


def test_the_command_line_prints_json_alone(server, work, tmp_path, capfd, monkeypatch):
    from curate.cli import _main

    selection, _ = work
    command = ["select", str(selection["pool"]), "--model", str(selection["model"]), "-m", "longest", "-b", "20%", "--json"]
    outputs = []
    for runner in ("prefect", "local"):
        assert _main([*command, "--runner", runner, "--out", str(tmp_path / runner), "--store", str(tmp_path / "s")]) == 0
        out = capfd.readouterr().out
        assert out.count("\n") == 1
        outputs.append(json.loads(out))
    assert outputs[0]["selected"] == outputs[1]["selected"] == 6
    frames = [pl.read_parquet(tmp_path / runner / "selection.parquet") for runner in ("prefect", "local")]
    assert frames[0].equals(frames[1])


def test_every_verb_that_does_long_work_has_a_flow(server):
    """Those that have --runner; and no flow is of anything else."""
    import typer

    from curate.cli.app import app
    from flows.verbs import FLOWS

    commands = typer.main.get_command(app).commands
    verbs = {verb for verb, command in commands.items() if "runner" in {parameter.name for parameter in command.params}}
    verbs.remove("schedule")  # its flow is the nightly one, which takes plain values
    of_the_library = {"run": "run_recipe", "demo": "compare"}
    assert {of_the_library.get(verb, verb) for verb in verbs} == set(FLOWS) and len(verbs) > 4
    assert all(callable(getattr(curate, verb)) for verb in FLOWS)
