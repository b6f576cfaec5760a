"""Metrics by name: those that come with curate, those of other packages, and a user's own.

Another package adds one through the entry-point group `curate.metrics`: a Metric, or a function under `metric`.
"""

from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any

from curate.errors import InputError
from curate.evaluation import texts
from curate.evaluation.choices import MultipleChoice
from curate.evaluation.losses import Perplexity, ResponseLoss
from curate.evaluation.metric import SHARE, Metric
from curate.evaluation.replies import FunctionMetric, TextMetric

BUILT_IN: dict[str, Metric] = {
    one.name: one
    for one in (
        ResponseLoss(),
        Perplexity(),
        TextMetric("exact_match", SHARE, compare=texts.exact_match),
        TextMetric("contains", SHARE, compare=texts.contains),
        TextMetric("f1", compare=texts.f1),
        TextMetric("rouge_l", compare=texts.rouge("rougeL"), library="rouge-score"),
        TextMetric("rouge1", compare=texts.rouge("rouge1"), library="rouge-score"),
        TextMetric("rouge2", compare=texts.rouge("rouge2"), library="rouge-score"),
        TextMetric("chrf", compare=texts.chrf, library="sacrebleu"),
        TextMetric("bleu", compare=texts.bleu, library="sacrebleu"),
        MultipleChoice(),
        MultipleChoice("multiple_choice_per_byte", per_byte=True),
    )
}
_declared: dict[str, Metric] = {}  # in this process: a metric of a script or a notebook


@lru_cache(maxsize=1)
def _points() -> dict[str, Any]:
    return {point.name: point for point in sorted(entry_points(group="curate.metrics"), key=lambda point: point.name)}


def metric_names() -> list[str]:
    """The names of all metrics that can be had: built in, then of other packages, then declared here."""
    return list(dict.fromkeys([*BUILT_IN, *_points(), *_declared]))


def find_metric(name: str) -> Metric:
    """The metric of a name; InputError with the names there are when there is none."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    if name in _declared:
        return _declared[name]
    if name not in _points():
        raise InputError(f"metric {name!r} is not one of {', '.join(metric_names())}")
    found = _points()[name].load()
    if not isinstance(found, Metric) or found.name != name:
        raise InputError(f"the entry point {name!r} of curate.metrics is no metric of that name but {found!r}")
    return declare(found)


def declare(metric: Metric) -> Metric:
    """Make a metric known by its name in this process; a later one of the same name takes its place.

    Raises InputError for the name of a built-in one, and for one without a version.
    """
    if metric == BUILT_IN.get(metric.name):
        return metric
    if metric.name in BUILT_IN:
        raise InputError(f"{metric.name} is a metric that comes with curate; give yours another name")
    if not metric.name.replace("_", "").replace(" ", "").isalnum():
        raise InputError(f"a metric's name has letters, digits and _, and {metric.name!r} has not")
    if metric.version is None:
        raise InputError(f"the metric {metric.name} needs a version, so that the store can tell its results from others")
    _declared[metric.name] = metric
    return metric


def metric(
    *, version: int | str, unit: str = SHARE, lower_is_better: bool = False, name: str | None = None
) -> Callable[[Callable[[str, dict[str, Any]], float]], FunctionMetric]:
    """Declare a function of a reply and its row as a metric, known by its name from then on.

        @metric(version=1, unit="words", lower_is_better=True)
        def length(prediction: str, row: dict) -> float:
            return len(prediction.split())

    version  raise it when the function gives other values; with the name it tells results apart in the store.
    unit     of a value; `share` and `0 to 1` are held to it.
    Raises InputError for a function without a name, such as a lambda, when none is given.
    """

    def declared(function: Callable[[str, dict[str, Any]], float]) -> FunctionMetric:
        known = str(name or getattr(function, "__name__", ""))
        if not known.isidentifier():
            raise InputError("a metric needs a name: that of its function, or metric(name=...)")
        bounded = unit in ("share", "0 to 1")
        made = FunctionMetric(known, unit, lower_is_better, bounded, str(version), function=function)
        declare(made)
        return made

    return declared
