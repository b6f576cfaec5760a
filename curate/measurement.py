"""Measure a model on tasks: the library's function behind `curate evaluate`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from curate import progress
from curate.asked import asked
from curate.comparison.statistics import paired_difference, weights_by_source
from curate.engine import Engine
from curate.errors import InputError
from curate.evaluation.metrics import find_metric
from curate.evaluation.results import ITEMS, EvalResult, check_finite
from curate.evaluation.tasks import EVALUATE_VERSION, Task
from curate.evaluation.tasks import evaluate as evaluate_task
from curate.files import output_folder
from curate.lm.models import ModelSpec
from curate.preparation import HeldOut, PoolLike, Unusable, as_model, as_tasks, hold_out, unusable_rows
from curate.store import write_manifest
from curate.versions import versions

RESULTS = {
    "task": pl.String, "metric": pl.String, "source": pl.String, "value": pl.Float64, "ci_low": pl.Float64,
    "ci_high": pl.Float64, "items": pl.Int64, "unit": pl.String,
}  # fmt: skip


@dataclass(frozen=True)
class Evaluation:
    """What a model scored.

    frame     task, metric, source (null for the mean over sources), value, ci_low, ci_high (95% interval over items, null
              where one item says nothing of how items vary), items, unit
    items     task, row_id, source, value, weight, prediction, reason: every row of every task; the value is null where the
              row could not be measured, and the reason says why
    unusable  the rows without a value, by task, with file and line
    manifest  versions, the model, the tasks, stages, and the artifacts of the store that it was made from
    """

    frame: pl.DataFrame
    items: pl.DataFrame
    unusable: Mapping[str, Sequence[Unusable]]
    manifest: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Evaluation of {self.items['task'].n_unique()} tasks; .frame, .items, .unusable\n{self.frame}"

    def to_json(self) -> dict[str, Any]:
        left_out = {task: [asdict(row) for row in rows] for task, rows in self.unusable.items()}
        return {"results": self.frame.to_dicts(), "left_out": left_out}

    def write(self, out: str | Path, *, overwrite: bool = False) -> None:
        """results.json, items.parquet and the manifest, in a folder that is made."""
        with output_folder(out, overwrite=overwrite) as folder:
            (folder / "results.json").write_text(json.dumps(self.to_json(), indent=1) + "\n")
            self.items.write_parquet(folder / "items.parquet")
            write_manifest(folder / "manifest.json", self.manifest)


def evaluate(
    evals: Mapping[str, PoolLike] | PoolLike | Sequence[Task],
    *,
    model: str | Path | ModelSpec | None = None,
    engine: Engine | None = None,
) -> Evaluation:
    """A model's metric on held-out conversations.

    evals  conversations, several by name, or tasks; a name may say how they are measured (`curate.evaluation.grammar`).

    Rows that the model cannot read, or the metric cannot measure, are left out with a reason. Raises InputError for a model or
    a task at fault and where no row of a task is left, CurateError where a value is not a finite number.
    """
    engine, spec, tasks = engine or Engine(), as_model(model), as_tasks(evals)
    if not tasks:
        raise InputError("give at least one evaluation set")
    if len({task.name for task in tasks}) < len(tasks):
        raise InputError("two evaluation sets have the same name")
    held_out = [hold_out(engine, task, spec) for task in tasks]
    network = engine.load_plain(spec)
    lines, items = [], []
    for task, held in zip(tasks, held_out, strict=True):
        result = _measured(engine, spec, network, held)
        lines += by_source(result)
        items.append(_with_reasons(result, task, held))
    unusable = {task.name: unusable_rows(task.pool, held.failed) for task, held in zip(tasks, held_out, strict=True)}
    manifest = {
        "curate": versions(),
        "evaluate_version": EVALUATE_VERSION,
        "model": {"name": spec.name, "fingerprint": engine.model_hash(spec)},
        "encoding": engine.encoding_spec(spec),
        "tasks": [
            {"files": list(task.pool.report.files), "identity": held.task.identity(held.rows.fingerprint)}
            for task, held in zip(tasks, held_out, strict=True)
        ],
        "stages": [vars(stage) for stage in engine.stages],
        "notes": engine.notes,
        "store": engine.store.provenance(),
        "replay": asked("evaluate", engine, {"evals": tasks, "model": spec}),
    }
    return Evaluation(pl.DataFrame(lines, schema=RESULTS), pl.concat(items), unusable, manifest)


def _measured(engine: Engine, spec: ModelSpec, network: Any, held: HeldOut) -> EvalResult:
    encodings, name = engine.encodings(spec, held.rows), f"evaluate {spec.label} on {held.task.name}"
    total = int(encodings.lengths.sum())
    with engine.stage("evaluate", name) as stage, progress.task(name, total, "tokens") as advance:
        tokenizer = engine.tokenizer(spec)
        result = evaluate_task(network, tokenizer, held.task, encodings, batch_tokens=engine.batch_tokens, progress=advance)
        stage.tokens = result.tokens
    return check_finite(result, f"the model {spec.label}", "its weights are damaged or its training diverged")


def _with_reasons(result: EvalResult, task: Task, held: HeldOut) -> pl.DataFrame:
    failed, sources = held.failed, dict(zip(task.pool.row_ids, task.pool.sources, strict=True))
    rows = [(task.name, row_id, sources[row_id], None, None, None, reason) for row_id, reason in failed.items()]
    left_out = pl.DataFrame(rows, schema={**ITEMS, "reason": pl.String}, orient="row")
    return pl.concat([result.items().with_columns(reason=pl.lit(None, dtype=pl.String)), left_out]).sort("row_id")


def by_source(result: EvalResult) -> list[dict[str, Any]]:
    """The figure of a task as the mean over its sources, then of each source, with intervals; keys as in `RESULTS`."""
    sources = np.array([source or "" for source in result.sources], dtype=object)
    parts: list[tuple[str | None, np.ndarray]] = [(None, np.ones(len(sources), dtype=bool))]
    parts += [(source, sources == source) for source in sorted(set(sources))]
    metric, lines = find_metric(result.metric), []
    for source, here in parts:
        values, weights = np.asarray(result.values, dtype=np.float64)[here], np.asarray(result.weights, dtype=np.float64)[here]
        mean, low, high = interval(values, weights, sources[here], bounded=metric.bounded)
        figures = [None if bound is None else metric.figure(bound) for bound in (mean, low, high)]
        found = dict(zip(("value", "ci_low", "ci_high"), figures, strict=True))
        shared = {"task": result.task, "metric": result.metric, "source": source, "items": len(values)}
        lines.append({**shared, **found, "unit": metric.reported})
    return lines


def interval(
    values: np.ndarray, weights: np.ndarray, sources: np.ndarray, *, bounded: bool = False, confidence: float = 0.95
) -> tuple[float, float | None, float | None]:
    """The mean over sources of weighted means, and its interval over items drawn anew within each source.

    values, weights float64 [n], sources [n]. The t interval of `paired_difference`; for values between 0 and 1 Wilson's
    (1927), with as many items as would give the same standard error (Dean and Pagano 2015): it holds near 0 and 1, and where
    all items are alike. None for one item.
    """
    by_item = weights_by_source(weights, sources)
    mean = float(values @ by_item)
    if len(values) < 2:
        return mean, None, None
    twice = np.stack([values, values])  # two equal seeds: what varies is the items
    found = paired_difference(twice, np.zeros_like(twice), by_item, sources, confidence=confidence)
    if not isfinite(found.se):
        return mean, None, None
    if not bounded:
        return mean, found.ci_low, found.ci_high
    n = mean * (1 - mean) / found.se**2 if found.se > 0 and 0 < mean < 1 else 1 / float(by_item @ by_item)
    t = float(stats.t.ppf((1 + confidence) / 2, found.df)) if isfinite(found.df) else float(stats.norm.ppf((1 + confidence) / 2))
    middle, half = (mean + t**2 / (2 * n)) / (1 + t**2 / n), t / (1 + t**2 / n) * sqrt(mean * (1 - mean) / n + (t / (2 * n)) ** 2)
    return mean, max(0.0, middle - half), min(1.0, middle + half)
