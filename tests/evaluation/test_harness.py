"""Task files of lm-eval, run by it offline on a model that is loaded."""

import json

import pytest
import yaml

import curate
from curate.errors import InputError
from curate.evaluation import metrics
from curate.evaluation.tasks import Task, evaluate
from curate.lm.models import load_model, load_tokenizer
from curate.preparation import as_model, hold_out

ROWS = [
    {"question": "What is 2+2?", "choices": ["4", "five apples"], "answer": 0},
    {"question": "What is 3+2?", "choices": ["4", "five"], "answer": 1},
    {"question": "What is 1+2?", "choices": ["nobody knows", "three", "five", "none"], "answer": 1},
    {"question": "What is 1+1?", "choices": ["two", "2"], "answer": 1},
]
TASK = {
    "task": "local_sums",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "rows.jsonl"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}}",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "answer",
    "metric_list": [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm")],
}


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    monkeypatch.setattr(metrics, "_declared", {})


@pytest.fixture
def write(tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))

    def make(**changes):
        path = tmp_path / "task.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in {**TASK, **changes}.items() if value is not None}))
        return path

    return make


@pytest.fixture
def lm_eval(monkeypatch, tmp_path):
    """The library itself, its tables kept in the test's folder."""
    module = pytest.importorskip("lm_eval", reason="the extra curate[lm-eval] is not installed")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    return module


@pytest.fixture(scope="module")
def model(base4m):
    return load_model(base4m, device="cpu", dtype="float32"), load_tokenizer(base4m)


def measured(task, model, base4m, tmp_path):
    engine = curate.Engine(store=curate.Store(tmp_path / "store"), device="cpu")
    held = hold_out(engine, task, as_model(base4m))
    return evaluate(*model, held.task, engine.encodings(as_model(base4m), held.rows))


def own(lm_eval, path, model, monkeypatch):
    """lm-eval's own front door on the same file."""
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    monkeypatch.chdir(path.parent)
    monkeypatch.setattr("lm_eval.evaluator.get_git_commit_hash", lambda: None)
    lm = HFLM(pretrained=model[0], tokenizer=model[1], batch_size=2)
    config = yaml.safe_load(path.read_text())
    return lm_eval.simple_evaluate(lm, tasks=[config], task_manager=TaskManager(include_defaults=False), bootstrap_iters=0)


def test_values_are_lm_evals_own(lm_eval, write, model, base4m, tmp_path, monkeypatch):
    path = write()
    whole, found = own(lm_eval, path, model, monkeypatch), {}
    for name in ("acc", "acc_norm"):
        task = Task.lm_eval(path, measure=name)
        result = measured(task, model, base4m, tmp_path)
        by_question = {task.pool.messages(i)[0]["content"]: value for i, value in enumerate(result.values)}
        samples = {sample["doc"]["question"]: sample[name] for sample in whole["samples"]["local_sums"]}
        assert by_question == samples and len(samples) == 4
        assert result.values.mean() == whole["results"]["local_sums"][f"{name},none"]
        again = measured(task, model, base4m, tmp_path)
        assert (again.values == result.values).all() and again.predictions == result.predictions
        found[name] = result.values.tolist()
    assert found["acc"] != found["acc_norm"]  # else the test would not tell the two apart
    assert task.name == "local_sums" and task.metric == "lm_eval_local_sums_acc_norm" and not task.how.lower_is_better


def test_rows_that_are_left_out_leave_the_others_as_they_are(lm_eval, write, model, base4m, tmp_path):
    """lm-eval numbers the documents that it is asked for; each must keep its own value."""
    from curate.lm.encodings import Encodings

    task = Task.lm_eval(write())
    engine = curate.Engine(store=curate.Store(tmp_path / "store"), device="cpu")
    held = hold_out(engine, task, as_model(base4m))
    encodings: Encodings = engine.encodings(as_model(base4m), held.rows)
    whole = evaluate(*model, held.task, encodings)
    for chosen in ([2], [3, 0], [1, 3, 2]):
        part = evaluate(*model, held.task, encodings.take(chosen))
        assert part.values.tolist() == whole.values[chosen].tolist()
        assert list(part.predictions) == [whole.predictions[i] for i in chosen]


def test_a_task_that_lets_the_model_write(lm_eval, write, model, base4m, tmp_path):
    path = write(
        output_type="generate_until", doc_to_choice=None, doc_to_target="{{choices[answer]}}",
        generation_kwargs={"until": ["\n"], "max_gen_toks": 4, "do_sample": False},
        metric_list=[{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    )  # fmt: skip
    task = Task.lm_eval(path, name="sums")
    result = measured(task, model, base4m, tmp_path)
    assert result.task == "sums" and all(result.predictions)
    right = [task.pool.messages(i)[-1]["content"] for i in range(4)]
    assert result.values.tolist() == [float(said == reply) for said, reply in zip(result.predictions, right, strict=True)]


def test_other_data_is_another_task_in_the_store(lm_eval, write, tmp_path):
    before = Task.lm_eval(write()).how.version
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({**row, "answer": 0}) + "\n" for row in ROWS))
    assert before.startswith("lm-eval ") and Task.lm_eval(write()).how.version != before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"include": "other.yaml"}, "include is refused here"),
        ({"task": None}, "is not a mapping with a task"),
        ({"metric_list": [{"metric": "x", "hf_evaluate": True}]}, "hf_evaluate fetches code"),
        ({"dataset_kwargs": {"trust_remote_code": True}}, "trust_remote_code is refused"),
        ({"output_type": "poem"}, "lm-eval cannot make a task of it"),
    ],
)
def test_task_files_that_cannot_be_used(lm_eval, write, changes, said):
    with pytest.raises(InputError, match=said):
        Task.lm_eval(write(**changes))


def test_a_task_file_that_runs_code(tmp_path):
    (tmp_path / "task.yaml").write_text("task: x\nprocess_docs: !function utils.process\n")
    with pytest.raises(InputError, match=r"it runs code \(!function\), which is refused here"):
        Task.lm_eval(tmp_path / "task.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        Task.lm_eval(tmp_path / "gone.yaml")


def test_a_metric_that_the_task_has_not(lm_eval, write):
    with pytest.raises(InputError, match="the task has no metric 'f1'; it has acc, acc_norm"):
        Task.lm_eval(write(), measure="f1")


def test_without_lm_eval(write, monkeypatch):
    import sys

    for module in [name for name in sys.modules if name.partition(".")[0] == "lm_eval"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    with pytest.raises(InputError, match=r"pip install 'curate\[lm-eval\]'"):
        Task.lm_eval(write())
