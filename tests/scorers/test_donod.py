"""DONOD: TOPSIS of two numbers, and which rows its directions leave out."""

import numpy as np
import pytest

from curate.lm.models import ModelSpec
from curate.method import Data
from curate.requests import Observe, Rows
from curate.signals import RowScore
from scorers.donod import DONOD

DATA = Data(pool=Rows("pool", "p" * 32, 3), model=ModelSpec("org/base"))


def signal(method, don, nod):
    columns = [RowScore.of(np.array(values, float)) for values in (don, nod)]
    seen = dict(zip(method.requests(DATA, {}), columns, strict=True))
    return method.signal(DATA, seen, np.random.default_rng(0))


def test_the_closeness_to_the_best_of_both():
    assert DONOD().requests(DATA, {}) == [Observe(DATA.model, DATA.pool, name) for name in ("don", "nod")]
    assert DONOD() == DONOD(don="min", nod="min")
    plain = DONOD(clip=0, don="max")
    assert signal(plain, [3, 4, 3.5], [4, 3, 3.5]).values.tolist() == pytest.approx([0, 1, 0.5])
    assert signal(DONOD(clip=0, don="min", nod="max"), [3, 4, 3.5], [4, 3, 3.5]).values.tolist() == pytest.approx([1, 0, 0.5])
    assert signal(DONOD(clip=0, don="min"), [3, 4, 4], [3, 4, 3]).values.tolist() == pytest.approx([1, 0, 0.5], abs=0.1)


def test_a_null_stays_one():
    found = signal(DONOD(), [1, float("nan"), 2], [1, 1, 2])
    assert found.is_null.tolist() == [False, True, False]
