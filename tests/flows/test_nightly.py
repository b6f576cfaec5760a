"""Nights as flows: what they leave for a person to read, how they are scheduled, and one training per device."""

import json
import shutil
import threading
import time

import pytest

import curate.nightly.night
from curate.comparison.promotion import Promotion
from curate.errors import CurateError, InputError
from curate.nightly import State
from curate.nightly.night import NightFailed


@pytest.fixture
def nights(make_pool, tiny, tmp_path):
    """A recipe that promotes whatever is a candidate; gives the flow's parameters, and a way to bring conversations."""
    (tmp_path / "inbox").mkdir()
    make_pool(range(100, 106), name="dev.jsonl")
    (tmp_path / "My nights.yaml").write_text(
        f"pool: inbox\nstate: state\nmodel: {tiny}\nselect: {{method: longest, budget: 20%}}\nkeep: 0\n"
        "gate: {evals: {dev: dev.jsonl}, seeds: 2, tokens: 60, train: {batch_tokens: 60}}\n"
    )

    def arrive(numbers, name):
        shutil.move(make_pool(numbers, name=name), tmp_path / "inbox" / name)

    return {"recipe": str(tmp_path / "My nights.yaml"), "engine": {"device": "cpu", "store": str(tmp_path / "store")}}, arrive


def artifacts(client):
    """The newest artifact of each key that nights leave."""
    found = sorted(
        (one for one in client.read_artifacts() if (one.key or "").startswith("my-nights")), key=lambda one: one.created
    )
    return {one.key.removeprefix("my-nights-"): one for one in found}


def test_a_night_leaves_what_a_person_reads(client, nights, tmp_path, monkeypatch):
    from flows.nightly import nightly

    promoted = lambda difference, level, *, lower_is_better: Promotion(True, 0.125, 0.0625, 1e-5, level)  # noqa: E731
    monkeypatch.setattr(curate.nightly.night, "decide", promoted)
    parameters, arrive = nights
    arrive(range(20), "a.jsonl")
    nightly(**parameters)
    first = artifacts(client)
    assert set(first) == {"decision", "rows", "report", "progress"} and first["decision"].data.startswith("# Promoted")

    arrive(range(20, 30), "<b>.jsonl")
    decision = nightly(**parameters)
    found = artifacts(client)
    assert decision["promoted"] and set(found) == {"decision", "rows", "report", "verdict", "verdict-table", "progress"}
    said = found["decision"].data
    assert "surely by more than 0.0625" in said and "| gate set | dev |" in said and "0.00014 (even, of alpha 0.05)" in said
    rows = {row["what"]: row["number"] for row in json.loads(found["rows"].data)}
    assert (rows["rows new"], rows["new files"], rows["rows in the candidate"]) == ("10", "<b>.jsonl", "6")
    assert [row["method"] for row in json.loads(found["verdict-table"].data)][:3] == ["random", "accepted", "candidate"]
    assert found["progress"].data == 100 and found["progress"].description.endswith("30 of 30 rows")
    folder = tmp_path / "state" / "nights" / decision["night"]
    assert f"({(folder / 'verdict' / 'verdict.md').as_uri()})" in found["report"].data
    runs = client.read_flow_runs()
    assert "a night of My nights" in {run.name for run in runs}

    arrive(range(30, 40), "c.jsonl")
    monkeypatch.setattr(curate.nightly.night, "compare", lambda *a, **k: (_ for _ in ()).throw(CurateError("no memory is left")))
    with pytest.raises(NightFailed, match="verdict could not be made: no memory is left"):
        nightly(**parameters)
    failed = artifacts(client)["decision"]
    assert failed.data.startswith("# Failed") and failed.description.endswith("/verdict") and "no memory is left" in failed.data
    newest = max(client.read_flow_runs(), key=lambda run: run.created)
    assert newest.state.is_failed() and "no memory is left" in newest.state.message
    assert State(tmp_path / "state").accepted().night == decision["night"]


def test_one_training_at_a_time_on_a_device(client):
    from flows.limits import limit_name, training_slot

    inside, most = [], []

    def train(kind):
        with training_slot(kind, "cuda:7"):
            inside.append(kind)
            most.append(inside.count("fit"))
            time.sleep(0.4)
            inside.remove(kind)

    with training_slot("arm", "cuda:7"):
        with training_slot("pass", "cuda:7"), training_slot("fit", "cpu"):
            pass  # what does not train, and another device, do not wait
        threads = [threading.Thread(target=train, args=("fit",)) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        assert not most  # the arm holds the device
    for thread in threads:
        thread.join(60)
    assert most == [1, 1]
    limit = client.read_global_concurrency_limit_by_name(limit_name("cuda:7"))
    assert (limit.limit, limit.active_slots) == (1, 0)


def test_a_device_has_one_name(monkeypatch):
    from flows.limits import limit_name

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert limit_name("cuda") == limit_name("cuda:0") != limit_name("cuda:1") != limit_name("cpu")
    second = limit_name("cuda:1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert limit_name("cuda") == second


def test_a_schedule_serves_the_recipe(client, nights, monkeypatch):
    from datetime import timedelta

    from flows.nightly import nightly
    from flows.serving import schedule

    asked = []
    monkeypatch.setattr(type(nightly), "serve", lambda flow, **more: asked.append((flow.name, more)))
    parameters, _ = nights
    schedule(parameters, cron="0 3 * * *", timezone="Europe/Berlin")
    schedule(parameters, interval=timedelta(minutes=30))
    [(name, first), (_, second)] = asked
    assert name == "nightly" and first["name"] == "My nights" and first["parameters"] == parameters and first["limit"] == 1
    assert (first["schedule"].cron, first["schedule"].timezone) == ("0 3 * * *", "Europe/Berlin")
    assert second["schedule"].interval == timedelta(minutes=30)
    with pytest.raises(InputError, match="--cron 'at three':"):
        schedule(parameters, cron="at three")


def test_the_command_line(nights, tmp_path, capfd, monkeypatch):
    from curate.cli import _main

    parameters, arrive = nights
    recipe = parameters["recipe"]
    for words, said in (
        ([], "say when: --cron"),
        (["--once", "--cron", "0 3 * * *"], "say when by only one of --cron"),
        (["--interval", "0m"], "--interval '0m': write a number and s, m, h or d, such as 30m"),
        (["--interval", "1d", "--timezone", "Mars/Olympus"], "'Mars/Olympus' is not a time zone"),
        (["--once", "--pool", "gone"], "gone: no such file"),
    ):
        assert _main(["schedule", recipe, *words]) == 2
        found = capfd.readouterr().err
        assert said in found and found.count("\n") == 1
    arrive(range(20), "a.jsonl")
    assert _main(["run", recipe, "--out", str(tmp_path / "out")]) == 2
    assert "is a nightly one: `curate schedule` runs it" in capfd.readouterr().err
    assert _main(["schedule", recipe, "--once", "--device", "cpu", "--store", str(tmp_path / "store"), "--json"]) == 0
    decision = json.loads(capfd.readouterr().out)
    assert decision["promoted"] and decision["rows_selected"] == 4 and decision["state"] == str(tmp_path / "state")
    assert _main(["schedule", "nightly", "--once"]) == 2
    assert "name the folder of what is accepted" in capfd.readouterr().err
    (tmp_path / "bad.yaml").write_text("pool: [\n")
    assert _main(["schedule", str(tmp_path / "bad.yaml"), "--once"]) == 2
    assert "is not YAML" in capfd.readouterr().err
