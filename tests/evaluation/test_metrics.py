"""The registry, and metrics of the user's own."""

from dataclasses import replace
from math import exp

import pytest

from curate.errors import InputError
from curate.evaluation import metrics
from curate.evaluation.metric import Metric
from curate.evaluation.metrics import BUILT_IN, declare, find_metric, metric, metric_names


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    """What a test declares is known to it alone."""
    monkeypatch.setattr(metrics, "_declared", {})


def test_units_and_directions():
    found = {name: find_metric(name).wording for name in metric_names()}
    assert found["response_loss"] == "nats per reply token, lower is better"
    assert found["perplexity"] == "log scale, nats per reply token, lower is better"
    assert found["exact_match"] == found["multiple_choice"] == "share, higher is better"
    assert found["rouge_l"] == found["f1"] == "0 to 1, higher is better"
    assert list(found) == list(BUILT_IN)
    assert {name for name in found if find_metric(name).lower_is_better} == {"response_loss", "perplexity"}


def test_the_figure_of_a_perplexity():
    assert find_metric("perplexity").figure(2.0) == pytest.approx(exp(2)) and find_metric("perplexity").figure(1e6) == float(
        "inf"
    )
    assert find_metric("response_loss").figure(2.0) == 2.0


def test_an_unknown_metric():
    with pytest.raises(InputError, match="metric 'bleurt' is not one of response_loss, perplexity, exact_match"):
        find_metric("bleurt")


def test_a_function_becomes_a_metric():
    @metric(version=2, unit="words", lower_is_better=True)
    def length(prediction, row):
        return len(prediction.split())

    found = find_metric("length")
    assert found is length and isinstance(found, Metric)
    assert (found.wording, found.version, found.bounded) == ("words, lower is better", "2", False)
    assert length("a b c", {}) == 3
    assert metric_names()[-1] == "length"
    assert metric(version=1, name="other")(lambda prediction, row: 0.0).name == "other"


def test_functions_that_are_no_metrics():
    with pytest.raises(InputError, match="needs a name"):
        metric(version=1)(lambda prediction, row: 0.0)
    with pytest.raises(InputError, match="exact_match is a metric that comes with curate"):
        metric(version=1, name="exact_match")(lambda prediction, row: 0.0)
    with pytest.raises(InputError, match="needs a version"):
        declare(replace(find_metric("contains"), name="mine"))


def test_a_metric_of_another_package(monkeypatch):
    other = metric(version="1.0", name="theirs")(lambda prediction, row: 1.0)
    metrics._declared.clear()

    class Point:
        def __init__(self, name, found):
            self.name, self.load = name, lambda: found

    points = {point.name: point for point in (Point("theirs", other), Point("odd", print))}
    monkeypatch.setattr(metrics, "_points", lambda: points)
    assert find_metric("theirs") is other and "theirs" in metric_names()
    with pytest.raises(InputError, match="'odd' of curate.metrics is no metric"):
        find_metric("odd")


def test_an_extra_that_is_not_installed(monkeypatch):
    import sys

    from curate.evaluation import texts

    texts._rouge_scorer.cache_clear()
    for module in ("rouge_score", "rouge_score.rouge_scorer", "sacrebleu"):
        monkeypatch.setitem(sys.modules, module, None)
    for name in ("rouge_l", "bleu", "chrf"):
        with pytest.raises(InputError, match=r"pip install 'curate\[metrics\]'"):
            find_metric(name).compare("a", "a")
    texts._rouge_scorer.cache_clear()
