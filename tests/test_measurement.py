"""Measuring a model on tasks: figures by source, intervals, what is left out, and files."""

import json
from math import exp

import numpy as np
import polars as pl
import pytest

import curate
from curate.errors import CurateError, InputError
from curate.evaluation import metrics
from curate.evaluation.metrics import metric
from curate.evaluation.tasks import Task
from curate.measurement import interval
from curate.preparation import as_model, as_pool


@pytest.fixture
def engine(tmp_path):
    return curate.Engine(store=curate.Store(tmp_path / "store"), device="cpu")


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    monkeypatch.setattr(metrics, "_declared", {})


def handle(engine, pool, model):
    spec = as_model(model)
    return spec, engine.add("pool", as_pool(pool), spec)[1]


def test_a_loss_is_the_mean_over_sources_of_token_weighted_means(engine, make_pool, tiny):
    """Against a loop over rows in float64."""
    import torch
    from transformers import AutoModelForCausalLM

    pool = make_pool(range(9), source=lambda i: "many" if i < 7 else "few")
    spec, rows = handle(engine, pool, tiny)
    encodings, sources = engine.encodings(spec, rows), as_pool(pool).sources
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float64)
    sums = {"many": [0.0, 0], "few": [0.0, 0]}
    for ids, mask, source in zip(encodings.input_ids, encodings.loss_mask, sources, strict=True):
        with torch.no_grad():
            logp = model(torch.tensor(ids[None].astype(np.int64))).logits[0].log_softmax(-1)
        for at in np.flatnonzero(mask):
            sums[source][0] -= logp[at - 1, int(ids[at])].item()
            sums[source][1] += 1
    means = {source: total / count for source, (total, count) in sums.items()}

    found = {line["source"]: line for line in curate.evaluate({"dev": pool}, model=tiny, engine=engine).frame.to_dicts()}
    assert {source: found[source]["items"] for source in found} == {None: 9, "many": 7, "few": 2}
    for source, mean in means.items():
        assert found[source]["value"] == pytest.approx(mean, abs=1e-4)
    assert found[None]["value"] == pytest.approx((means["many"] + means["few"]) / 2, abs=1e-4)
    assert {line["task"] for line in found.values()} == {"dev"} and found[None]["metric"] == "response_loss"


def test_a_task_keeps_its_settings(engine, make_pool, tiny, monkeypatch):
    """Rows the model cannot use are left out; the metric, the extractor and the limit on tokens stay."""
    seen = []

    def look(network, tokenizer, task, encodings, **options):
        from curate.evaluation.results import EvalResult

        seen.append(task)
        n = len(encodings)
        ones = np.ones(n)
        return EvalResult(task.name, task.metric, tuple(encodings.row_ids), (None,) * n, ones, ones, 0.0, 1)

    monkeypatch.setattr("curate.measurement.evaluate_task", look)
    long = [{"role": "user", "content": "word " * 400}, {"role": "assistant", "content": "Yes."}]
    short = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]
    pool = make_pool(range(2), messages=lambda i: long if i else short)
    task = Task("sums", as_pool(pool), "exact_match", extractor="gsm8k", max_new_tokens=7)
    found = curate.evaluate([task], model=tiny, engine=engine)
    [given] = seen
    assert (given.extractor, given.max_new_tokens, given.metric, len(given.pool)) == ("gsm8k", 7, "exact_match", 1)
    line = found.frame.row(0, named=True)
    assert (line["task"], line["metric"], line["source"], line["value"], line["items"]) == ("sums", "exact_match", None, 1.0, 1)
    assert line["ci_low"] is None and line["ci_high"] is None


def one(found, source=None):
    return found.frame.filter(pl.col("source").is_null() if source is None else pl.col("source") == source).row(0, named=True)


def test_items_average_to_what_is_reported(engine, make_pool, tiny):
    pool = make_pool(range(12), source=lambda i: "many" if i < 9 else "few")
    found = curate.evaluate({"dev": pool, "said:f1:max_new_tokens=6": pool}, model=tiny, engine=engine)
    for task in ("dev", "said"):
        items, frame = (table.filter(pl.col("task") == task) for table in (found.items, found.frame))
        means = {}
        for [source], part in items.group_by("source"):
            means[source] = (part["value"] * part["weight"]).sum() / part["weight"].sum()
        reported = dict(zip(frame["source"], frame["value"], strict=True))
        assert reported.pop(None) == pytest.approx(sum(means.values()) / 2) and reported == pytest.approx(means)
    said = found.items.filter(pl.col("task") == "said")
    assert said["prediction"].null_count() == 0 and set(said["weight"]) == {1.0}
    assert found.items.filter(pl.col("task") == "dev")["prediction"].null_count() == 12
    assert found.items["reason"].null_count() == 24


def test_a_perplexity_is_the_exponential_of_the_loss(engine, make_pool, tiny):
    pool = make_pool(range(12))
    found = curate.evaluate({"loss": pool, "ppl:perplexity": pool}, model=tiny, engine=engine)
    loss, perplexity = (found.frame.filter(pl.col("task") == task) for task in ("loss", "ppl"))
    for name in ("value", "ci_low", "ci_high"):
        assert perplexity[name].to_list() == pytest.approx([exp(number) for number in loss[name]])
    assert perplexity["unit"][0] == "exp of the loss, lower is better"
    items = [found.items.filter(pl.col("task") == task)["value"].to_list() for task in ("loss", "ppl")]
    assert items[0] == items[1]


def test_rows_that_cannot_be_measured_have_a_reason(engine, make_pool, tiny, tmp_path):
    turns = {
        0: ("word " * 300, "4"),
        1: ("2+2?", "four"),
        2: ("2+3?", "5"),
        3: ("2+4?", "6"),
        4: ("2+5?", "7", "word " * 300, "8"),  # the first reply can be read, the last cannot be asked for
    }
    roles = ("user", "assistant") * 2
    pool = make_pool(range(5), messages=lambda i: [{"role": r, "content": c} for r, c in zip(roles, turns[i])])
    task = Task("sums", as_pool(pool), "exact_match", extractor="last_number", max_new_tokens=3)
    found = curate.evaluate([task], model=tiny, engine=engine)
    assert one(found)["items"] == 2 and len(found.items) == 5
    left_out = found.items.filter(pl.col("reason").is_not_null())
    assert left_out["value"].null_count() == 3 and found.items["value"].null_count() == 3
    assert any("has no last_number answer" in reason for reason in left_out["reason"])
    far, none, later = sorted(found.unusable["sums"], key=lambda row: row.line)
    assert (far.line, none.line, later.line) == (1, 2, 5) and far.reason == "the reply is cut off entirely at 256 tokens"
    assert later.reason.startswith("has a prompt of ") and "which leaves no room for a reply in 256" in later.reason
    only = make_pool(
        [1], name="only.jsonl", messages=lambda i: [{"role": "user", "content": "?"}, {"role": "assistant", "content": "-"}]
    )
    with pytest.raises(
        InputError, match="no row of the evaluation set sums can be measured by exact_match: row [0-9a-f]+ has no last_number"
    ):
        curate.evaluate({"sums:exact_match:last_number": only}, model=tiny, engine=engine)


def test_a_metric_of_the_users_own(engine, make_pool, tiny):
    seen = []

    @metric(version=1, unit="characters", lower_is_better=True)
    def distance(prediction, row):
        seen.append(row)
        return abs(len(prediction) - row["wanted"])

    pool = make_pool(range(3), wanted=lambda i: 10 * i)
    task = Task("size", as_pool(pool), distance, max_new_tokens=4)
    found = curate.evaluate([task], model=tiny, engine=engine)
    for item, row in zip(found.items.iter_rows(named=True), seen, strict=True):
        assert item["value"] == abs(len(item["prediction"]) - row["wanted"]) and item["row_id"] == row["row_id"]
        assert row["prompt"][0]["role"] == "user" and row["reference"].startswith("It is")
    assert one(found)["unit"] == "characters, lower is better" and task.metric == "distance"

    @metric(version=1)
    def share(prediction, row):
        return 3.0

    @metric(version=1)
    def broken(prediction, row):
        return row["absent"]

    @metric(version=1, unit="words")
    def nothing(prediction, row):
        return float("nan")

    unsaid = (nothing, "gave nan for row .* not a finite number")
    for function, said in (
        unsaid,
        (share, "gave 3 for row .* not between 0 and 1"),
        (broken, "failed on row .* KeyError: 'absent'"),
    ):
        with pytest.raises(CurateError, match=said):
            curate.evaluate([Task("x", as_pool(pool), function, max_new_tokens=2)], model=tiny, engine=engine)


def test_tasks_by_name_and_by_line(make_pool, tmp_path):
    """A head in a mapping is what it is on the command line."""
    from curate.preparation import as_tasks

    path = make_pool(range(3))
    [by_line] = as_tasks({"sums:exact_match:gsm8k:stop=x": path})
    by_name = Task("sums", curate.read_pool(path), "exact_match", extractor="gsm8k", stop=("x",))
    assert by_line.identity("f") == by_name.identity("f") and len(by_line.pool) == len(by_name.pool) == 3
    assert as_tasks([by_line, by_name]) == [by_line, by_name]
    with pytest.raises(InputError, match="two evaluation sets have the same name"):
        curate.evaluate([by_line, by_name])


def test_what_is_written(engine, make_pool, tiny, tmp_path):
    found = curate.evaluate({"dev": make_pool(range(6))}, model=tiny, engine=engine)
    found.write(tmp_path / "out")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["results"] == found.frame.to_dicts() and results["left_out"] == {"dev": []}
    assert pl.read_parquet(tmp_path / "out" / "items.parquet").equals(found.items)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["model"]["name"] == str(tiny) and manifest["tasks"][0]["identity"][:2] == ["dev", "response_loss"]
    assert [stage["kind"] for stage in manifest["stages"]] == ["encode", "evaluate"]
    with pytest.raises(InputError, match="not empty"):
        found.write(tmp_path / "out")


# Intervals ------------------------------------------------------------------------------------------------------------


def test_an_interval_of_one_source_is_the_t_interval():
    values = np.array([1.0, 2.0, 4.0, 9.0])
    from scipy import stats

    low, high = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    assert interval(values, np.ones(4), np.array(["a"] * 4)) == pytest.approx((4.0, low, high), rel=1e-6)


def test_an_interval_of_shares_is_wilsons():
    """Against the formula for 7 of 10, and its limit for 0 of 10; t with 9 degrees of freedom for the normal quantile."""
    from scipy import stats

    t, p = stats.t.ppf(0.975, 9), 0.7
    values = np.array([1.0] * 7 + [0.0] * 3)
    n = 9  # the standard error of 10 items is p (1 - p) / 9, as it is estimated
    low, high = sorted(np.roots([1 + t**2 / n, -(2 * p + t**2 / n), p**2]))
    assert interval(values, np.ones(10), np.array(["a"] * 10), bounded=True) == pytest.approx((p, low, high), rel=1e-6)
    mean, low, high = interval(np.zeros(10), np.ones(10), np.array(["a"] * 10), bounded=True)
    assert (mean, low) == (0, 0) and 0.2 < high < 0.4


@pytest.mark.parametrize("p", [0.03, 0.5])
def test_intervals_of_shares_cover(p):
    """Of two sources of different sizes; at least 93 in 100 draws hold the mean."""
    rng = np.random.default_rng(0)
    sources, held = np.array(["a"] * 30 + ["b"] * 60), 0
    for _ in range(300):
        values = (rng.random(90) < p).astype(float)
        _, low, high = interval(values, np.ones(90), sources, bounded=True)
        held += low <= p <= high
    assert held >= 279


def test_an_interval_of_one_item_is_unknown():
    assert interval(np.array([2.0]), np.ones(1), np.array(["a"])) == (2.0, None, None)
