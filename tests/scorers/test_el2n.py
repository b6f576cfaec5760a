"""Known answers of EL2N: the hard rows but for the hardest."""

import numpy as np
import pytest

from curate.budget import Budget
from curate.errors import InputError
from curate.lm.models import ModelSpec
from curate.method import Data
from curate.registry import make_method
from curate.requests import Fit, Observe, Rows
from curate.signals import RowScore
from curate.training.config import TrainConfig
from scorers.el2n import EL2N

DATA = Data(pool=Rows("pool", "p" * 32, 11), model=ModelSpec("org/base"), recipe=TrainConfig(epochs=4), seed=3)
VALUES = [0.1, 0.9, float("nan"), 0.5, 0.7, 0.3, 1.0, 0.2, 0.4, 0.6, 0.8]


def signal(method, *columns):
    seen = dict(zip(method.requests(DATA, {}), map(RowScore.of, map(np.array, columns)), strict=True))
    return method.signal(DATA, seen, np.random.default_rng(0))


def test_the_hardest_come_last():
    method = EL2N(skip=0.2)
    found = signal(method, VALUES)
    chosen = method.choose(found, None, Budget.parse(11).limit(np.ones(11)), np.random.default_rng(0))
    assert [VALUES[i] for i in chosen.index] == [0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.9, 1.0]
    there = [i for i in range(11) if i != 2]
    assert sorted(there, key=lambda i: -method.preference(found)[i]) == chosen.index.tolist()
    assert np.isnan(method.preference(found)[2])


def test_it_shares_the_pass_unless_the_model_is_warmed_up():
    assert EL2N().requests(DATA, {}) == [Observe(DATA.model, DATA.pool, "el2n")]
    warm = EL2N(warm_up=0.05, seeds=2)
    fits = [request.model for request in warm.requests(DATA, {})]
    assert all(isinstance(fit, Fit) and fit.recipe.epochs == 0.05 for fit in fits)
    assert [fit.recipe.seed for fit in fits] == [3, 4]
    np.testing.assert_allclose(signal(warm, [0.2, 0.4], [0.4, float("nan")]).values, [0.3, float("nan")])
    with pytest.raises(InputError, match="seeds are of warm_up"):
        make_method("el2n:seeds=2")
