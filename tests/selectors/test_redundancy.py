"""The nearest row before each, block by block against one by one."""

import numpy as np

from curate.selectors import redundancy
from curate.selectors.redundancy import nearest_before


def test_blocks_are_the_loop(monkeypatch):
    rng = np.random.default_rng(0)
    units = rng.normal(size=(60, 4))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    clusters, order = rng.integers(0, 4, 60), rng.permutation(60)
    monkeypatch.setattr(redundancy, "BLOCK", 7)
    found = nearest_before(units, clusters, order)
    place = np.argsort(order)
    for i in range(60):
        before = [j for j in range(60) if clusters[j] == clusters[i] and place[j] < place[i]]
        want = max((float(units[i] @ units[j]) for j in before), default=-1.0)
        np.testing.assert_allclose(found[i], want, atol=1e-6)


def test_of_copies_all_but_the_first_are_1():
    units = np.repeat(np.eye(3), 3, axis=0)
    found = nearest_before(units, np.zeros(9, dtype=np.int64), np.arange(9))
    assert found.tolist() == [-1, 1, 1, 0, 1, 1, 0, 1, 1]
