"""The methods as they describe themselves, those that need a target and those with settings inside settings too."""

import json
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console

import curate.registry
from curate.errors import InputError
from curate.lm.models import ModelSpec
from curate.lm.observables import OBSERVABLES
from curate.method import Data
from curate.registry import make_method, method_class, method_names
from curate.report.catalogue import catalogue, entry, show_catalogue, show_method
from curate.report.terminal import show_selection
from curate.requests import Embed, Fit, Observe, Pairs, Rows, Told
from scorers.delift import DELIFT
from scorers.less import LESS
from scorers.nn_cift import NNCIFT


@pytest.fixture
def found(monkeypatch):
    classes = {cls.name: cls for cls in (DELIFT, LESS, NNCIFT, method_class("longest"))}
    points = {name: SimpleNamespace(load=lambda cls=cls: cls) for name, cls in classes.items()}
    monkeypatch.setattr(curate.registry, "_found", lambda: points)
    return {entry["name"]: entry for entry in catalogue()}


def test_every_method_says_what_it_asks_for(found):
    assert set(found) == {"delift", "less", "nn-cift", "longest"}
    assert "target" in found["less"]["asks_for"] and "target" not in found["delift"]["asks_for"]
    assert found["delift"]["asks_for"] == "distance of pool by the model; distance of pool after pool by the model"


def test_settings_are_what_people_can_write(found):
    json.dumps(list(found.values()))
    settings = found["nn-cift"]["settings"]
    assert settings["network.hidden"] == 100 and settings["influence"] == "delift"
    written = ":".join(f"{key}={value}" for key, value in settings.items() if value is not None)
    assert make_method(f"nn-cift:{written}") == NNCIFT()


def test_remarks_are_shown():
    summary = Counter(rows_pool=1, selected=1, remarks=["by 3 of 9 pairs"])
    console = Console(record=True, width=120)
    console.print(show_selection(summary, None, ["kept"]))
    shown = console.export_text()
    assert "note      by 3 of 9 pairs" in shown and "note      kept" in shown


def test_rows_beside_the_pool_are_counted():
    console = Console(record=True, width=120)
    summary = Counter(rows_pool=60, selected=1, reused_rows=60, computed_rows_target=20, computed_rows_existing=0, seconds=1)
    console.print(show_selection(summary, None))
    assert "computed  0 rows; 60 reused from the store; 20 rows of the target; 1.0 s" in console.export_text()


def test_one_method_says_all_of_itself():
    console = Console(record=True, width=100)
    show_method(console, entry("lobass"))
    shown = console.export_text()
    assert "Keep the rows whose loss drops most" in shown and "arXiv 2310.13008" in shown
    line = next(line for line in shown.splitlines() if line.startswith("min_base_loss"))
    assert "0.001" in line and "nats per token" in line
    with pytest.raises(InputError, match="did you mean lobass"):
        entry("lobas")


def test_every_setting_says_what_it_is_for():
    silent = [(name, key) for name in method_names() for key, said in entry(name)["meanings"].items() if not said]
    assert silent == []


def test_the_list_has_a_line_for_each():
    console = Console(record=True, width=100)
    show_catalogue(console, catalogue())
    shown = console.export_text()
    assert all(f"\n  {name}  " in shown for name in method_names())


@pytest.mark.parametrize("width", [60, 80])
def test_no_line_break_parts_what_is_looked_up(width):
    console = Console(record=True, width=width, force_terminal=False)
    show_catalogue(console, catalogue())
    shown = console.export_text()
    assert all(method["paper"] in shown for method in catalogue())


def test_what_methods_cost():
    cost = {method["name"]: method["cost"] for method in catalogue()}
    assert cost["dpp"] == "a gradient for each row"
    assert cost["delift"] == cost["nn-cift"] == "forward passes over pairs of rows"
    assert cost["perplexity"] == cost["kmq"] == cost["facility-location"] == "a forward pass"
    assert cost["ifd"] == cost["superfiltering"] == "a forward pass over each of several views of the rows"
    assert entry("ifd")["asks_for"].split("; ")[:2] == [
        "mean_loss of pool by the model",
        "mean_loss of pool, response, by the model",
    ]
    assert cost["less"] == cost["bids"] == "a training, and a gradient for each row at each of its checkpoints"
    assert cost["random"] == cost["sstoken"] == "nothing before training"
    console = Console(record=True, width=100)
    show_method(console, entry("sstoken"))
    show_method(console, entry("rho-1"))
    shown = " ".join(console.export_text().split())
    assert "nothing before training; training takes a pass over the rows and a forward pass a step more" in shown
    assert "a training and passes; training takes a forward pass a step more" in shown


def needs_a_model(request):
    """To run over single rows."""
    if isinstance(request, Observe):
        return OBSERVABLES[request.observable].forward and not isinstance(request.rows, Pairs)
    return isinstance(request, Embed)


def test_costs_are_what_methods_ask_for():
    """By the kinds of requests of the first round, target or not."""
    asks = {
        "free": set(), "tokenizer": {"Observe"}, "forward": {"Observe", "Embed", "Judge"}, "views": {"Observe", "Embed"}, "pairs": {"Observe", "Embed"},
        "generation": {"Generate", "Judge", "Embed"}, "gradients": {"Gradients", "Observe", "Embed"}, "training": {"Fit", "Observe", "Embed"}, "influence": {"Fit", "Gradients"},
    }  # fmt: skip
    target = Rows("target", "t", 4)
    faults = []
    for name in set(method_names()) - {"given", "iterative-kmq", "data-mixing"}:
        method = method_class(name)()
        data = Data(pool=Rows("pool", "p", 40), model=ModelSpec("org/base"))
        try:
            asked = method.requests(data, {})
        except InputError:  # there is nothing to ask for without a target
            asked = method.requests(replace(data, target=target), {})
        kinds = {type(request).__name__ for request in asked if not isinstance(request, Told)}
        faults += [(name, method.cost, sorted(kinds - asks[method.cost]))] if kinds - asks[method.cost] else []
        trained = any(isinstance(request, Fit) or "Fit(" in repr(request) for request in asked)
        faults += [(name, method.cost, "trained")] if trained != (method.cost in ("training", "influence")) else []
        views = {request.view for request in asked if needs_a_model(request)}
        faults += (
            [(name, method.cost, views)] if (len(views) > 1) != (method.cost == "views") and method.cost != "training" else []
        )
        paired = any(isinstance(getattr(request, "rows", None), Pairs) for request in asked)
        faults += [(name, method.cost, "pairs")] if paired != (method.cost == "pairs") else []
    assert faults == []


def test_a_setting_says_which_words_it_takes():
    console = Console(record=True, width=160)
    show_method(console, entry("facility-location"))
    shown = console.export_text()
    for words in ("(auto, fl, mi, cg)", "(cosine, shifted, sphere, rbf)", "(paper, code)", "(lazy, stochastic)"):
        assert words in shown
    words = [(name, key, word) for name in method_names() for key, of in entry(name)["values"].items() for word in of]
    assert {("kmq", "clusters", "auto"), ("perplexity", "window", "mid")} <= set(words)
