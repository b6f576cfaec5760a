"""Observables that are more than a mean, by hand."""

import numpy as np
import pytest

from curate.lm.observables import OBSERVABLES


def distance(*p):
    return OBSERVABLES["distance"].reduce({"logp": np.log(np.array(p)).astype(np.float32)})


def test_distance_is_the_root_mean_square_of_what_is_missing():
    """An example that takes gold probabilities from 0.2, 0.4 to 0.9, 0.9 has utility 0.60711 (arXiv 2411.04425)."""
    without, behind = distance(0.2, 0.4), distance(0.9, 0.9)
    assert without == pytest.approx(0.70711, abs=5e-6) and behind == pytest.approx(0.1, abs=1e-6)
    assert without - behind == pytest.approx(0.60711, abs=5e-6)
    mean, unscaled = 0.7 - 0.1, np.sqrt(0.64 + 0.36) - np.sqrt(0.02)
    assert min(abs(without - behind - mean), abs(without - behind - unscaled)) > 5e-3


def test_distance_does_not_grow_with_length():
    assert distance(0.2, 0.4, 0.2, 0.4) == pytest.approx(distance(0.2, 0.4), rel=1e-7)
    assert distance(0.3) == pytest.approx(0.7, rel=1e-6)


def test_distance_of_what_is_all_but_certain_keeps_its_digits():
    """1 - p of a p rounded to float32 would be 0, of bfloat16 long before."""
    logp = np.array([-1e-9, -3e-9], np.float32)
    found = OBSERVABLES["distance"].reduce({"logp": logp})
    assert found == pytest.approx(np.sqrt(5) * 1e-9, rel=1e-6)
    assert (1 - np.exp(logp) == 0).all()
