"""The best of every cluster: by length, and by IFD without the clusters in which instructions hinder."""

import numpy as np
import pytest

from curate.budget import Budget
from curate.lm.models import ModelSpec
from curate.method import Data
from curate.requests import Embed, Rows
from curate.signals import RowScore, RowVector
from scorers.cluster_ifd import ClusterIFD
from scorers.cluster_longest import ClusterLongest

NAN = float("nan")


def signal(method, clusters, answers):
    """The method's signal of rows that lie in these clusters. answers: by view what their losses are, or their tokens."""
    n = len(clusters)
    data = Data(pool=Rows("pool", "p" * 32, n), model=ModelSpec("org/base"))
    seen = {}
    for request in method.requests(data, {}):
        if isinstance(request, Embed):
            assert request.view == "instruction"
            seen[request] = RowVector(np.eye(max(clusters) + 1, dtype=np.float32)[clusters], np.full(n, None, object))
        else:
            key = request.view if request.observable == "mean_loss" else request.observable
            seen[request] = RowScore.of(np.array(answers.get(key, [50] * n), float))
    return data, method.signal(data, seen, np.random.default_rng(0))


def picks(method, found, budget):
    limit = Budget.parse(budget).limit(np.ones(len(found)))
    return method.choose(found, None, limit, np.random.default_rng(0))


def test_the_longest_of_every_cluster():
    method = ClusterLongest(clusters=2, min_cluster=1)
    _, found = signal(method, [0] * 8 + [1] * 4, {"response_tokens": [90, 91, 92, 93, 94, 95, 96, 97, 1, 2, 3, 4]})
    assert picks(method, found, 3).index.tolist() == [7, 6, 11]  # in proportion: two and one
    assert picks(ClusterLongest(clusters=2, min_cluster=1, budget="equal"), found, 4).index.tolist() == [7, 6, 11, 10]
    assert picks(method, found, 12).stratum[:1] == [str(found.clusters[7])]


def test_tiny_clusters_come_last():
    method = ClusterLongest(clusters=2)
    _, found = signal(method, [0] * 8 + [1] * 4, {"response_tokens": [1, 2, 3, 4, 5, 6, 7, 8, 90, 91, 92, 93]})
    assert sorted(picks(method, found, 8).index.tolist()) == list(range(8))
    assert len(picks(method, found, 12)) == 12


def test_as_many_clusters_as_the_root_of_half_the_rows():
    method = ClusterLongest()
    _, found = signal(method, [i % 5 for i in range(50)], {"response_tokens": range(50)})
    assert len(set(found.clusters.tolist())) == 5 and method.remarks(None, found) == ["5 clusters"]


def test_the_highest_ifd_of_every_cluster_but_not_above_one():
    method = ClusterIFD(clusters=3, min_cluster=1)
    ifd = np.array([0.2, 0.9, 0.5, 1.2, 0.1, 0.3, 0.25, 0.15, 0.99, 1.9, 1.8, 0.98])
    losses = {"conversation": 2 + np.log(ifd), "response": np.full(12, 2.0)}
    _, found = signal(method, [0] * 4 + [1] * 4 + [2] * 4, losses)
    np.testing.assert_allclose(found.values, ifd)
    chosen = picks(method, found, 12)
    assert sorted(chosen.index.tolist()) == [0, 1, 2, 4, 5, 6, 7]  # not row 3, and nothing of the third cluster
    assert chosen.nulls == 0 and picks(method, found, 2).index.tolist() == [1, 5]
    assert method.preference(found).argmax() == 1 and method.preference(found)[9] == pytest.approx(-1.9)
    assert method.remarks(None, found) == ["3 clusters", "5 of 12 rows have an IFD above 1, or are of a cluster whose mean is"]


def test_a_row_without_a_loss_is_left_out():
    method = ClusterIFD(clusters=1)
    _, found = signal(method, [0] * 6, {"conversation": [NAN, 1, 1.1, 1.2, 1.3, 1.4], "response": [2] * 6})
    assert 0 not in picks(method, found, 6).index and picks(method, found, 6).nulls == 1
