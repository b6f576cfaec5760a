"""Known answers of LoBaSS: 1 - reference / base, row by row."""

import numpy as np
import pytest

from curate.budget import Budget
from curate.lm.models import ModelSpec
from curate.method import Data
from curate.requests import Fit, Observe, Rows
from curate.signals import RowScore
from curate.training.config import TrainConfig
from scorers.lobass import LoBaSS

RECIPE = TrainConfig(epochs=4, learning_rate=1e-3, lora_r=8, seed=99)
DATA = Data(pool=Rows("pool", "p" * 32, 3), model=ModelSpec("org/base"), recipe=RECIPE, seed=7)
BASE, REFERENCE = [4.0, 1.0, 2.0], [3.0, 0.4, 2.2]
NAN = float("nan")


def score(base, reference, lengths=None, **settings):
    """The method's signal when these are the losses that it sees."""
    method = LoBaSS(**settings)

    def column(values):
        return values if isinstance(values, RowScore) else RowScore.of(np.array(values, dtype=float))

    seen = {
        Observe(DATA.model, DATA.pool, "mean_loss"): column(base),
        Observe(DATA.model, DATA.pool, "response_tokens"): column(lengths if lengths is not None else [9] * len(base)),
    }
    [reference_request] = [r for r in method.requests(DATA, {}) if isinstance(r.model, Fit)]
    seen[reference_request] = column(reference)
    return method.signal(DATA, seen, np.random.default_rng(0))


def order(found):
    limit = Budget.parse(len(found)).limit(np.ones(len(found)))
    return LoBaSS().choose(found, None, limit, np.random.default_rng(0)).index.tolist()


def test_three_rows():
    found = score(BASE, REFERENCE)
    np.testing.assert_allclose(found.values, [0.25, 0.6, -0.1], rtol=1e-12)
    assert order(found) == [1, 0, 2] and found.reasons.tolist() == [None] * 3
    # Neither the raw difference nor the difference over the reference's loss or the reply's length is this method.
    drop = np.subtract(BASE, REFERENCE)
    assert np.argsort(-drop).tolist() == [0, 1, 2]
    assert not np.allclose(found.values, drop) and not np.allclose(found.values, drop / REFERENCE)


def test_scaling_both_losses_of_a_row_changes_nothing():
    scaled = score([40.0, 1.0, 2.0], [30.0, 0.4, 2.2])
    np.testing.assert_allclose(scaled.values, score(BASE, REFERENCE).values, rtol=1e-12)


def test_the_length_of_a_reply_does_not_enter():
    assert np.array_equal(score(BASE, REFERENCE, [1, 500, 20]).values, score(BASE, REFERENCE).values)


def test_the_forms_that_it_is_not():
    """Of three rows the raw difference puts the first first, LoBaSS the second; over the whole reply the longest wins."""
    lengths = [10, 10, 500]
    relative, drop, per_token = (score(BASE, REFERENCE, lengths, form=form) for form in ("relative", "difference", "per_token"))
    assert order(relative) == [1, 0, 2]
    np.testing.assert_allclose(per_token.values, [1.0, 0.6, -0.2])
    np.testing.assert_allclose(drop.values, [10.0, 6.0, -100.0])
    assert order(per_token) == [0, 1, 2] == order(drop)
    scaled = score([40.0, 1.0, 2.0], [30.0, 0.4, 2.2], lengths, form="per_token")
    assert scaled.values[0] == pytest.approx(10 * per_token.values[0])  # which leaves the relative form as it is
    short = score([0.0, 1.0], [0.0, 0.5], [3, 3], form="difference")
    assert short.values.tolist() == [0.0, 1.5]  # a base loss of 0 is no reason to have no difference
    left = score(BASE, REFERENCE, lengths, form="per_token", exclude_unlearnable=True)
    assert left.reasons.tolist() == [None, None, "the loss did not drop"]


def test_a_tiny_base_loss_is_null():
    found = score([1.0, 0.0009, 0.0, 0.001], [0.5, 0.0001, 0.1, 0.0005])
    assert found.is_null.tolist() == [False, True, True, False]
    assert found.reasons.tolist() == [None, *["the base loss is below 0.001"] * 2, None]
    assert score([0.0009], [0.00045], min_base_loss=0).values.tolist() == pytest.approx([0.5])
    assert score([0.0], [0.0], min_base_loss=0).reasons.tolist() == ["the base loss is below 0"]
    assert order(found) == [0, 3]  # equal scores: the smaller row; nulls are left out


def test_a_null_of_either_loss_stays_null_with_its_reason():
    base = RowScore(np.array([NAN, 1.0, NAN]), np.array(["no base", None, "no base"], object))
    reference = RowScore(np.array([0.5, NAN, NAN]), np.array([None, "no reference", "no reference"], object))
    for settings in ({}, {"exclude_unlearnable": True}, {"min_response_tokens": 50}):
        found = score(base, reference, **settings)
        assert found.is_null.all() and found.reasons.tolist() == ["no base", "no reference", "no base"]


def test_unlearnable_rows_are_left_out_when_asked():
    assert not score(BASE, REFERENCE).is_null.any()
    found = score([*BASE, 1.0], [*REFERENCE, 1.0], exclude_unlearnable=True)
    assert found.is_null.tolist() == [False, False, True, True]
    assert found.reasons.tolist() == [None, None, *["the loss did not drop"] * 2]


def test_short_replies_are_null_when_asked():
    found = score(BASE, REFERENCE, [1, 2, 3], min_response_tokens=3)
    assert found.is_null.tolist() == [True, True, False] and found.reasons[0] == "fewer than 3 reply tokens"


def test_it_asks_for_one_fit_of_the_final_recipe():
    asked = LoBaSS(epochs=2).requests(DATA, {})
    fits = {r.model for r in asked if isinstance(r, Observe) and isinstance(r.model, Fit)} | {
        r for r in asked if isinstance(r, Fit)
    }
    [fit] = fits
    assert (fit.model, fit.rows) == (DATA.model, DATA.pool)
    assert (fit.recipe.epochs, fit.recipe.seed) == (2, 7)
    assert fit.recipe == RECIPE.model_copy(update={"epochs": 2.0, "seed": 7})
    assert {(type(r.model), r.observable) for r in asked} == {
        (ModelSpec, "mean_loss"),
        (Fit, "mean_loss"),
        (ModelSpec, "response_tokens"),
    }
    assert all(r.rows == DATA.pool for r in asked)


def test_a_recipe_by_steps_or_tokens_is_followed_for_epochs():
    for recipe in (TrainConfig(steps=5), TrainConfig(tokens=1000)):
        data = Data(pool=DATA.pool, model=DATA.model, recipe=recipe)
        [fit] = {r.model for r in LoBaSS().requests(data, {}) if isinstance(r.model, Fit)}
        assert (fit.recipe.epochs, fit.recipe.steps, fit.recipe.tokens) == (1, None, None)


def test_the_reference_learns_whole_replies_whatever_the_token_policy():
    """Its losses are of whole replies; a policy's reference model may itself be named in the recipe."""
    policy = {"token_policy": "rho-1", "keep_tokens": 0.5, "reference": "elsewhere"}
    data = Data(pool=DATA.pool, model=DATA.model, recipe=TrainConfig(**RECIPE.model_dump() | policy), seed=7)
    [fit] = [request.model for request in LoBaSS().requests(data, {}) if isinstance(request.model, Fit)]
    assert fit.recipe == RECIPE.trained_for(1.0, 7)
