"""Log-determinant distance: known answers, and determinants computed from nothing."""

import numpy as np
import pytest

from curate.diversity import log_determinant_distance, mean_log_gain, on_sphere
from curate.selectors.greedy_map import Features
from curate.selectors.similarity import Similarity


class Matrix:
    """A kernel that is held."""

    def __init__(self, values):
        self.values, self.diagonal = values, values.diagonal().copy()

    def block(self, rows, columns):
        return self.values[np.ix_(rows, columns)]


def whole(values, gamma=1.0):
    """The mean log gain of all rows: the log determinant, whatever the order."""
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    return np.linalg.slogdet(np.exp(gamma * (unit @ unit.T - 1) / 2))[1] / len(values)


def test_pairs_and_the_identity():
    rho, m = 0.7, 6
    s = np.kron(np.eye(m), [[1, rho], [rho, 1]])
    assert mean_log_gain(Matrix(np.eye(2 * m)), 2 * m) == (0.0, 0)
    mean, spanned = mean_log_gain(Matrix(s), 2 * m)
    assert -mean == pytest.approx(-0.5 * np.log(1 - rho**2)) and spanned == 0
    assert mean_log_gain(Matrix(s), m)[0] == pytest.approx(0)  # one of each pair


def test_all_rows_give_the_determinant():
    values = np.random.default_rng(0).normal(size=(200, 12))
    assert mean_log_gain(Features(values, Similarity("sphere")), 200)[0] == pytest.approx(whole(values), abs=1e-9)


def test_points_on_the_sphere():
    points = [on_sphere(1500, 4096, seed) for seed in (0, 1)]
    np.testing.assert_allclose(np.linalg.norm(points[0], axis=1), 1)
    first, second = (whole(some) for some in points)
    assert first == pytest.approx(-1.039, abs=5e-4) and abs(first - second) < 0.001
    assert mean_log_gain(Features(points[0], Similarity("sphere")), 1500)[0] == pytest.approx(first, abs=1e-8)
    limit = np.log(1 - np.exp(-0.5))
    assert first < limit < first + 0.12  # of few points in many dimensions


def test_clusters_lie_far_from_the_sphere_and_a_random_set_near():
    rng = np.random.default_rng(3)
    random = rng.normal(size=(600, 256))
    centres = rng.normal(size=(6, 256))
    clustered = centres[rng.integers(0, 6, 600)] + 0.18 * rng.normal(size=(600, 256))
    keys = {"picks": 300, "reference_rows": 600, "seeds": (0, 1)}
    near, far = log_determinant_distance(random, **keys), log_determinant_distance(clustered, **keys)
    assert abs(near.distance) < 0.01 and near.spread < 0.01
    assert 2.5 < far.distance < 3.5
    half = np.where(rng.random((600, 1)) < 0.5, random, clustered)
    assert near.distance < log_determinant_distance(half, **keys).distance < far.distance


def test_the_report_holds_all_that_numbers_compare_by():
    values = np.random.default_rng(0).normal(size=(50, 8))
    found = log_determinant_distance(values, picks=20, reference_rows=40, similarity=Similarity("sphere", 3.0), seeds=(5, 6, 7))
    assert found.report() == {
        "distance": found.distance, "spread": found.spread, "mean_log_gain": found.mean_log_gain, "reference": found.reference,
        "rows": 50, "picks": 20, "reference_rows": 40, "dimensions": 8, "similarity": "sphere", "gamma": 3.0,
        "seeds": [5, 6, 7], "spanned": 0,
    }  # fmt: skip
    assert found.distance == pytest.approx(found.reference - found.mean_log_gain)
    alone = [
        log_determinant_distance(values, picks=20, reference_rows=40, similarity=Similarity("sphere", 3.0), seeds=(s,))
        for s in (5, 6, 7)
    ]
    assert found.distance == pytest.approx(np.mean([one.distance for one in alone]))
    assert found.spread == pytest.approx(np.ptp([one.distance for one in alone])) and alone[0].spread is None


def test_edges():
    one = log_determinant_distance(np.array([[3.0, 4.0]]), reference_rows=1)
    assert (one.distance, one.picks, one.rows) == (0, 1, 1)
    values = np.random.default_rng(0).normal(size=(10, 3))
    values[2], values[5] = np.nan, 0
    found = log_determinant_distance(values, picks=50, reference_rows=20)
    assert (found.rows, found.picks) == (8, 8)  # no more picks than rows
    alike = log_determinant_distance(np.ones((10, 3)), reference_rows=10)
    assert alike.spanned == 9 and alike.mean_log_gain == pytest.approx(0.9 * np.log(1e-10))
    with pytest.raises(ValueError, match="no row"):
        log_determinant_distance(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="reference"):
        log_determinant_distance(values, picks=8, reference_rows=7)
