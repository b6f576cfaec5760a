"""What several methods ask for becomes the fewest fits and passes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.lm.models import ModelSpec
from curate.method import Data
from curate.plan import Pass, Plan, describe, merge
from curate.registry import make_method
from curate.requests import Column, Fit, Observe, Rows, Texts
from curate.training.config import TrainConfig

MODEL, OTHER = ModelSpec("org/base"), ModelSpec("org/other")
POOL, TARGET = Rows("pool", "p" * 32, 10), Rows("target", "t" * 32, 3)
FIT = Fit(MODEL, POOL, TrainConfig())


def test_equal_requests_are_one():
    request = Observe(MODEL, POOL, "mean_loss")
    assert merge([request, Observe(ModelSpec("org/base"), Rows("pool", "p" * 32, 10), "mean_loss")]) == merge([request])
    assert merge([FIT, Fit(MODEL, POOL, TrainConfig(epochs=1))]).fits == (FIT,)


def test_observables_of_one_model_rows_and_view_are_one_pass():
    plan = merge([Observe(MODEL, POOL, "mean_loss"), Observe(OTHER, POOL, "mean_loss"), Observe(MODEL, POOL, "token_logprobs")])
    assert plan.passes == (
        Pass(MODEL, POOL, "conversation", ("mean_loss", "token_logprobs")),
        Pass(OTHER, POOL, "conversation", ("mean_loss",)),
    )


def test_other_rows_models_and_views_are_other_passes():
    requests = [
        Observe(MODEL, POOL, "mean_loss"),
        Observe(MODEL, TARGET, "mean_loss"),
        Observe(FIT, POOL, "mean_loss"),
        Observe(MODEL, POOL, "mean_loss", view="response"),
    ]
    assert len(merge(requests).passes) == 4


def test_a_fit_inside_an_observe_is_asked_for_once():
    plan = merge([Observe(FIT, POOL, "mean_loss"), FIT, Observe(FIT, TARGET, "sum_loss")])
    assert plan.fits == (FIT,) and [step.model for step in plan.passes] == [FIT, FIT]
    another = Fit(MODEL, POOL, TrainConfig(seed=1))
    assert merge([Observe(FIT, POOL, "mean_loss"), Observe(another, POOL, "mean_loss")]).fits == (FIT, another)


def test_what_the_tokens_tell_takes_no_model():
    plan = merge([Observe(MODEL, POOL, "response_tokens"), Observe(FIT, POOL, "tokens")])
    assert plan.fits == () and not any(step.forwards for step in plan.passes)
    assert merge([Observe(MODEL, POOL, "tokens"), Observe(MODEL, POOL, "mean_loss")]).passes[0].forwards


def test_methods_share_their_pass():
    data = Data(pool=POOL, model=MODEL, seed=3)
    requests = [r for name in ("perplexity", "lobass", "longest", "random") for r in make_method(name).requests(data, {})]
    plan = merge(requests)
    assert len(plan.fits) == 1 and [step.model for step in plan.passes] == [MODEL, plan.fits[0]]
    assert plan.passes[0].observables == ("mean_loss", "response_tokens") and plan.passes[1].observables == ("mean_loss",)


NAMES = ("mean_loss", "sum_loss", "token_logprobs", "tokens")
REQUESTS = st.one_of(
    st.builds(Observe, st.sampled_from([MODEL, OTHER, FIT]), st.sampled_from([POOL, TARGET]), st.sampled_from(NAMES)),
    st.just(FIT),
)


@given(st.lists(REQUESTS, max_size=30))
def test_every_request_is_answered_and_nothing_else(requests):
    plan = merge(requests)
    answered = {Observe(step.model, step.rows, name, step.view) for step in plan.passes for name in step.observables}
    assert answered | set(plan.fits) >= set(requests) and answered <= set(requests)
    keys = [(step.model, step.rows, step.view) for step in plan.passes]
    assert len(set(keys)) == len(keys) and len(set(plan.fits)) == len(plan.fits)
    for step in plan.passes:
        assert step.model in plan.fits or not (isinstance(step.model, Fit) and step.forwards)


def test_what_the_pool_itself_tells_needs_nothing():
    told = [Texts(POOL, "instruction"), Column(POOL, "tags")]
    assert merge(told) == Plan() and [describe(request) for request in told] == [
        "texts of pool, instruction",
        "column tags of pool",
    ]


def test_nothing_is_asked_for():
    assert merge([]) == Plan((), ())


def test_an_unknown_observable_is_named():
    with pytest.raises(KeyError, match=r"no observable is called 'losss'; there are mean_loss"):
        merge([Observe(MODEL, POOL, "losss")])


def test_requests_in_words():
    assert describe(Observe(MODEL, POOL, "mean_loss")) == "mean_loss of pool by org/base"
    assert describe(Observe(FIT, TARGET, "tokens")) == "tokens of target by (fit org/base on pool)"
