"""`curate evaluate` from the command line."""

import json

import polars as pl
import pytest
import yaml


def refused(result, *words):
    code, out, err = result
    assert (code, out) == (2, "") and err.count("\n") == 1 and err.startswith("curate: ")
    for word in words:
        assert word in err


@pytest.fixture
def evaluate(run, make_pool, tiny, tmp_path):
    make_pool(range(100, 112), name="dev.jsonl")
    rows = [
        {"question": f"{n} + 1?", "choices": [str(n), str(n + 1), "none of these"], "answerKey": "B", "source": f"s{n % 2}"}
        for n in range(6)
    ]
    (tmp_path / "mc.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"question": "?", "answer": "free"}]))

    def call(*more, model=tiny):
        return run("evaluate", *([model] if model else []), *more)

    return call


def test_several_tasks_into_a_folder(evaluate, tmp_path):
    tasks = ("--eval", "dev.jsonl", "--eval", "ppl:perplexity=dev.jsonl", "--eval", "mc:multiple_choice=mc.jsonl",
             "--eval", r"said:f1:max_new_tokens=3:stop='\n':extractor=regex:pattern='(.*)'=dev.jsonl")  # fmt: skip
    code, out, _ = evaluate(*tasks, "--out", "out")
    assert code == 0
    assert "response loss on dev (nats per reply token, lower is better)" in out
    assert "perplexity on ppl (exp of the loss, lower is better)" in out
    assert "multiple choice on mc (share, higher is better)" in out and "mean over sources" in out
    assert "f1 on said (0 to 1, higher is better)" in out and "written out" in out
    assert "1 row of mc left out; mc.jsonl line 7: cannot be used: no choices" in out

    results = json.loads((tmp_path / "out" / "results.json").read_text())
    items = pl.read_parquet(tmp_path / "out" / "items.parquet")
    assert [len(part) for _, part in items.group_by("task", maintain_order=True)] == [12, 12, 7, 12]
    assert items.filter(pl.col("reason").is_not_null())["task"].to_list() == ["mc"]
    [whole] = [line for line in results["results"] if line["task"] == "mc" and line["source"] is None]
    assert whole["items"] == 6 and whole["ci_low"] < whole["value"] < whole["ci_high"]
    code, out, _ = evaluate(*tasks, "--out", "out", "--overwrite", "--json")
    again = json.loads(out)
    assert (code, again.pop("out")) == (0, "out") and again == results


def test_a_task_of_lm_eval(evaluate, tmp_path, monkeypatch):
    pytest.importorskip("lm_eval", reason="the extra curate[lm-eval] is not installed")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps({"q": f"{n}+1?", "a": str(n + 1)}) + "\n" for n in range(3)))
    task = {
        "task": "sums", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "docs.jsonl"}}, "test_split": "test",
        "output_type": "loglikelihood", "doc_to_text": "{{q}}", "doc_to_target": " {{a}}",
        "metric_list": [{"metric": "perplexity"}, {"metric": "acc"}],
    }  # fmt: skip
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(task))
    code, out, err = evaluate("--eval", "mine:lm_eval:measure=acc=task.yaml", "--json")
    results = json.loads(out)["results"]
    assert (code, err) == (0, "") and results[0]["items"] == 3 and results[0]["metric"] == "lm_eval_sums_acc"


def test_what_is_refused(evaluate, run, make_pool, tmp_path):
    refused(evaluate("--eval", "mc:multiple_choice=dev.jsonl"), "no row of the evaluation set mc can be measured", "no choices")
    refused(evaluate("--eval", "x:accuracy=dev.jsonl"), "metric 'accuracy' is not one of response_loss")
    refused(evaluate("--eval", "x:response_loss:max_new_tokens=3=dev.jsonl"), "task x: the metric response_loss has no setting")
    refused(evaluate("--eval", "x:exact_match:extractor=regex:pattern='('=gone"), "task x", "no regular expression")
    refused(evaluate("--eval", "x:lm_eval=dev.jsonl"), "the task file dev.jsonl")
    refused(evaluate("--eval", "dev.jsonl", "--model", "m"), "name the model once")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("1")
    refused(evaluate("--eval", "dev.jsonl", "--out", "full"), "full is not empty")
