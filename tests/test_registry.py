"""Methods by name and settings, and what is said when one is wrong."""

from typing import get_args

import pytest

from curate.errors import InputError
from curate.method import Cost, Method
from curate.registry import label, listed, make_method, method_class, method_names
from curate.report.catalogue import COST

METHODS = [
    "balanced", "bids", "bm25", "clear", "data-mixing", "data-whisperer", "dealrec", "deft-ucs", "deita", "delift", "dpp", "dsir", "edge",
    "facility-location", "freeshap", "goracs", "got-d", "igf", "instag", "instructmining", "iterative-kmq", "iterselecttune", "kmq",
    "less", "lobass", "longest", "mass", "middo", "mmssr", "nearest", "nn-cift", "perplexity", "prototypes", "random", "rds-plus",
    "rho-1", "robustft", "s2l", "s3ft", "semdedup", "sift", "sstoken", "token-cleaning",
]  # fmt: skip


def test_the_methods_are_found():
    assert set(METHODS) <= set(method_names()) and method_names() == sorted(method_names())


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_what_it_is(name):
    cls = method_class(name)
    assert issubclass(cls, Method) and cls.name == name and cls.paper
    assert cls.cost in get_args(Cost) and set(COST) == set(get_args(Cost))
    assert cls.__doc__ and ("Source: " in cls.__doc__ or cls.paper == "control" or cls.paper in cls.__doc__)
    assert label(make_method(name)) == name


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("perplexity:window=low", {"window": "low"}),
        ("lobass:epochs=3:exclude_unlearnable=true", {"epochs": 3.0, "exclude_unlearnable": True}),
        ("lobass:min_base_loss=0", {"min_base_loss": 0.0}),
    ],
)
def test_settings_in_the_name(text, want):
    method = make_method(text)
    assert {key: getattr(method, key) for key in want} == want
    assert make_method(label(method)) == method


def test_settings_beside_the_name():
    assert make_method("perplexity", {"window": "high"}) == make_method("perplexity:window=high")
    assert make_method("perplexity:window=low", {"window": "high"}).window == "high"


def test_a_label_names_what_is_not_the_default():
    assert label(make_method("lobass:epochs=1")) == "lobass"
    assert label(make_method("lobass:min_response_tokens=2:epochs=2")) == "lobass:epochs=2.0:min_response_tokens=2"


def test_dotted_settings_reach_inside_a_field(monkeypatch):
    class Nested(Method):
        name = "nested"
        options: dict[str, dict[str, int]] = {}

    monkeypatch.setattr("curate.registry.method_class", lambda name: Nested)
    method = make_method("nested:options.a.b=1", {"options.a.c": 2})
    assert method.options == {"a": {"b": 1, "c": 2}} and label(method) == "nested:options.a.b=1:options.a.c=2"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lobas", "no method is called 'lobas'; did you mean lobass"),
        ("zzzzzz", "no method is called 'zzzzzz'; there are: .*random"),
        ("perplexity:window", "'window' in 'perplexity:window' is not a setting; write perplexity:key=value"),
        ("perplexity:window=middle", "perplexity: .*'window'.*'low', 'mid' or 'high'.*its settings: window"),
        ("lobass:epochs=0", "lobass: .*'epochs'.*.*greater than 0"),
        ("random:seed=1", "random: .*'seed'.*its settings: none"),
    ],
)
def test_what_is_wrong_is_named(text, said):
    with pytest.raises(InputError, match=said):
        make_method(text)


def test_a_method_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        make_method("perplexity").window = "low"


def test_values_may_hold_commas_and_colons():
    text = "less:target_modules=q_proj,v_proj:epochs=2,longest,given:folder=hub:a/b,perplexity:window=low"
    assert listed(text) == [
        "less:target_modules=q_proj,v_proj:epochs=2",
        "longest",
        "given:folder=hub:a/b",
        "perplexity:window=low",
    ]
    less = make_method(listed(text)[0])
    assert (less.target_modules, less.epochs) == ("q_proj,v_proj", 2) and make_method(label(less)) == less
    assert listed("lobas,longest") == ["lobas", "longest"]
