"""Task files of lm-eval (EleutherAI's harness), run by lm-eval itself on a model that is loaded already.

The documents of the task become a pool, so that they can be left out of training data like any held-out set: the prompt
that lm-eval makes of a document is the question, its target the reply. What is measured is lm-eval's own: the first
metric of the file, or another of its metrics by name, one value per document.
"""

import contextlib
import io
import json
import logging
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from curate.errors import InputError
from curate.evaluation.metric import Measured, Metric, Run

if TYPE_CHECKING:
    from curate.pool import Pool

DOCUMENT = "document"  # the column of the pool that holds a document's number


@dataclass(frozen=True)
class LmEval(Metric):
    """One metric of one task of lm-eval. task: lm-eval's own object. measure_name: its name for the metric."""

    task: Any = field(kw_only=True, repr=False, compare=False)
    measure_name: str = field(kw_only=True)
    chat_template: bool = field(kw_only=True, default=False)

    @property
    def task_name(self) -> str:
        return str(self.task.config.task)

    def measure(self, run: Run) -> Measured:
        numbers = run.task.pool.column(DOCUMENT).to_pylist()
        documents = [int(numbers[position]) for position in run.positions]
        with _quiet():
            from lm_eval.evaluator import evaluate
            from lm_eval.models.huggingface import HFLM

            batch = max(1, run.batch_tokens // 512)
            lm = HFLM(pretrained=run.network, tokenizer=run.tokenizer, batch_size=batch)
            loaded = {"tasks": {self.task_name: self.task}, "groups": {}, "group_map": {}}
            found = evaluate(
                lm, loaded, samples={self.task_name: sorted(documents)}, bootstrap_iters=0, log_samples=True,
                apply_chat_template=self.chat_template,
            )  # fmt: skip
        samples: dict[int, Any] = {}
        for sample in found["samples"][self.task_name]:
            samples.setdefault(sample["doc_id"], sample)  # of several filters the first
        values = [_number(samples[document], self.measure_name) for document in documents]
        said = [_said(samples[document], self.task, document) for document in documents]
        return Measured(np.array(values), np.ones(len(values)), int(run.encodings.lengths.sum()), said)


def read_task(path: Any, measure: str | None = None, chat_template: bool = False) -> tuple[LmEval, "Pool"]:
    """A task file as a metric, and its documents as a pool; `document` is their number.

    measure: which of the file's metrics; the first by default. Data files are looked for beside the file. Raises InputError
    when lm-eval is not installed, for a file that is none of its tasks or would run code, and for a metric that it has not.
    """
    config = _config(Path(path))
    try:
        with _quiet():
            from lm_eval.tasks import TaskManager
    except ImportError:
        raise InputError("tasks of lm-eval need it: pip install 'curate[lm-eval]'") from None
    try:
        with _quiet():
            [task] = TaskManager(include_defaults=False).load([config])["tasks"].values()
            task.set_fewshot_seed(seed=1234)  # lm-eval's own default
            if task.config.num_fewshot is None:
                task.set_config(key="num_fewshot", value=0)
            documents, directions = list(task.eval_docs), task.higher_is_better()
    except Exception as error:  # lm-eval raises many kinds; each means that the file is no task
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: lm-eval cannot make a task of it: {said}") from None
    name = measure or next(iter(directions), "")
    if name not in directions:
        raise InputError(f"{path}: the task has no metric {name!r}; it has {', '.join(directions)}")
    text = json.dumps([config, documents, chat_template], sort_keys=True, default=str)
    digest = blake2b(text.encode(), digest_size=8).hexdigest()
    label = re.sub(r"\W+", "_", f"lm_eval_{config['task']}_{name}")
    higher = bool(directions[name])
    found = LmEval(
        label, "lm-eval's own", not higher, version=f"lm-eval {version('lm-eval')} {digest}", task=task, measure_name=name,
        chat_template=chat_template,
    )  # fmt: skip
    return found, _pool(path, task, documents)


def _config(path: Path) -> dict[str, Any]:
    """The task file, read with YAML's safe loader, which refuses `!function`; paths of data files made absolute."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"the task file {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        said = getattr(error, "problem", None) or str(error)
        why = "it runs code (!function), which is refused here" if "!function" in said else f"it is not YAML: {said}"
        raise InputError(f"the task file {path} cannot be used: {why}") from None
    if not isinstance(config, dict) or not isinstance(config.get("task"), str):
        raise InputError(f"the task file {path} is not a mapping with a task: its name")
    for key, part in (("include", config), ("trust_remote_code", config.get("dataset_kwargs") or {}), ("unsafe_code", config)):
        if part.get(key):
            raise InputError(f"the task file {path} cannot be used: {key} is refused here")
    if any(metric.get("hf_evaluate") for metric in config.get("metric_list") or [] if isinstance(metric, dict)):
        raise InputError(f"the task file {path} cannot be used: hf_evaluate fetches code, which is refused here")
    files = (config.get("dataset_kwargs") or {}).get("data_files")
    if files:
        config["dataset_kwargs"]["data_files"] = _beside(path, files)
    return config


def _beside(path: Path, files: Any) -> Any:
    if isinstance(files, dict):
        return {split: _beside(path, one) for split, one in files.items()}
    if isinstance(files, list):
        return [_beside(path, one) for one in files]
    return str(path.absolute().parent / files)


def _pool(path: Any, task: Any, documents: list[Any]) -> "Pool":
    from curate.pool import read_pool

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{task.config.task}.jsonl"
        with file.open("w", encoding="utf-8") as stream:
            for number, document in enumerate(documents):
                turns = [{"role": "user", "content": str(task.doc_to_text(document))}]
                turns.append({"role": "assistant", "content": _target(task, document)})
                stream.write(json.dumps({"messages": turns, DOCUMENT: number}) + "\n")
        try:
            return read_pool(file)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None


def _target(task: Any, document: Any) -> str:
    target = task.doc_to_target(document)
    if task.config.doc_to_choice is not None and isinstance(target, int):
        target = task.doc_to_choice(document)[target]
    if isinstance(target, list):
        target = next(iter(target), "")
    return str(target)


def _number(sample: dict[str, Any], name: str) -> float:
    value = sample[name]
    if isinstance(value, (bool, int, float, np.number)):
        return float(value)
    raise InputError(f"the metric {name} of lm-eval has no value for a document, only for all together; take another")


def _said(sample: dict[str, Any], task: Any, document: int) -> str | None:
    """The reply where lm-eval lets the model write one; the likeliest choice where it weighs them."""
    found = sample["filtered_resps"]
    if found and isinstance(found[0], str):
        return found[0]
    if task.OUTPUT_TYPE == "multiple_choice" and len(found) > 1:
        return str(task.doc_to_choice(sample["doc"])[int(np.argmax([logp for logp, _ in found]))])
    return None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """lm-eval and datasets print bars and warnings that are not curate's to show."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
