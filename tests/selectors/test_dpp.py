"""Greedy MAP of a determinantal point process against determinants computed from nothing."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from curate.budget import Limit
from curate.selectors.cholesky import LazyFactor
from curate.selectors.dpp import dpp
from curate.selectors.greedy_map import SMALLEST, Features, greedy_map
from curate.selectors.similarity import Similarity

NAN = float("nan")


def rows(n, k):
    return Limit(np.ones(n), k)


def log_det(s, picked):
    return np.linalg.slogdet(s[np.ix_(picked, picked)])[1]


def brute(s, k, quality=None, theta=0.0):
    """Greedy by determinants computed anew; what differs by rounding alone is equal."""
    picked, gains = [], []
    for _ in range(k):
        now = log_det(s, picked)
        found = []
        for j in range(len(s)):
            sign = np.linalg.slogdet(s[np.ix_([*picked, j], [*picked, j])])[0]
            if j in picked or sign <= 0:
                found.append(-np.inf)
                continue
            bonus = theta * np.log(quality[j]) if quality is not None else 0
            found.append(bonus + (1 - theta) * (log_det(s, [*picked, j]) - now))
        picked.append(int(np.argmax(np.array(found) >= max(found) - 1e-12)))
        gains.append(max(found))
    return picked, gains


class Matrix:
    """A kernel that is held."""

    def __init__(self, values):
        self.values, self.diagonal = values, values.diagonal().copy()

    def block(self, rows, columns):
        return self.values[np.ix_(rows, columns)]


def plain(s, logs=None, theta=0.0):
    """Fast greedy MAP as it is published: the variance of every row is kept up at every step."""
    variance, columns = s.diagonal().copy(), []
    bonus, weight = (np.zeros(len(s)), 1.0) if logs is None else (theta * logs, 1 - theta)
    while (variance >= SMALLEST).any():
        gains = np.where(variance >= SMALLEST, bonus + weight * np.log(np.maximum(variance, SMALLEST)), -np.inf)
        j = int(np.argmax(gains >= gains.max() - 1e-12 * max(1, abs(gains.max()))))
        yield j, gains[j], np.log(variance[j])
        column = (s[j] - sum((c[j] * c for c in columns), np.zeros(len(s)))) / np.sqrt(variance[j])
        columns.append(column)
        variance = np.maximum(variance - column**2, 0)
        variance[j] = 0


def clustered(rng, n, d, apart=0.3):
    return rng.normal(size=(max(2, n // 20), d))[rng.integers(0, max(2, n // 20), n)] + apart * rng.normal(size=(n, d))


def sphere(values, gamma):
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    return np.exp(gamma * (unit @ unit.T - 1) / 2)


@pytest.mark.parametrize("theta", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("gamma", [1.0, 10.0])
def test_picks_are_those_of_the_determinants(theta, gamma):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        values, quality = rng.normal(size=(30, 6)), rng.integers(1, 500, 30).astype(float)
        found = dpp(values, rows(30, 9), quality=quality, theta=theta, similarity=Similarity("sphere", gamma))
        picked, gains = brute(sphere(values, gamma), 9, quality, theta)
        assert found.index.tolist() == picked
        np.testing.assert_allclose(found.gain, gains, atol=1e-8)


def test_the_variances_multiply_to_the_determinant_and_fall():
    values = np.random.default_rng(0).normal(size=(300, 20))
    found = dpp(values, rows(300, 290))
    s = sphere(values, 1.0)
    assert found.gain.sum() == pytest.approx(log_det(s, found.index), abs=1e-8)
    assert (np.diff(found.gain) <= 1e-12).all() and found.gain[0] == 0
    for k in (1, 40, 289):
        assert dpp(values, rows(300, k)).index.tolist() == found.index[:k].tolist()


def test_it_equals_a_process_whose_kernel_has_the_quality_inside():
    rng, theta = np.random.default_rng(1), 0.3
    values, quality = rng.normal(size=(40, 8)), rng.random(40) + 0.1
    inside = quality ** (theta / (2 * (1 - theta)))
    s = inside[:, None] * sphere(values, 1.0) * inside
    want = [j for (j, _, _), _ in zip(greedy_map(Matrix(s)), range(12))]
    assert dpp(values, rows(40, 12), quality=quality, theta=theta).index.tolist() == want


def test_an_identity_kernel_goes_by_quality():
    quality = np.array([2.0, 5.0, 1.0, 5.0])
    order = [j for j, _, _ in greedy_map(Matrix(np.eye(4)), np.log(quality), 0.5)]
    assert order == [1, 3, 0, 2]
    assert [j for j, _, _ in greedy_map(Matrix(np.eye(4)))] == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["sphere", "cosine", "shifted", "rbf"])
def test_similarities(name):
    values = np.random.default_rng(2).normal(size=(25, 12))
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    cos, apart = unit @ unit.T, ((values[:, None] - values) ** 2).sum(axis=2)
    kernels = {"cosine": cos, "shifted": (1 + cos) / 2, "sphere": np.exp((cos - 1) / 40), "rbf": np.exp(-apart / 20)}
    found = dpp(values, rows(25, 8), similarity=Similarity(name, 0.05))
    assert found.index.tolist() == brute(kernels[name], 8)[0]
    made = Features(values, Similarity(name, 0.05))
    np.testing.assert_allclose(made.block(np.arange(25), np.arange(5, 9)), kernels[name][:, 5:9], atol=1e-12)
    np.testing.assert_allclose(made.diagonal, np.ones(25))


@pytest.mark.parametrize("theta", [0.0, 0.4])
@pytest.mark.parametrize("gamma", [0.5, 10.0])
@pytest.mark.parametrize("make", [clustered, lambda rng, n, d: rng.normal(size=(n, d))])
def test_lazily_the_order_is_that_of_keeping_up_every_row(make, gamma, theta):
    rng = np.random.default_rng(0)
    values, logs = make(rng, 900, 24), np.log(rng.integers(1, 500, 900))
    kept_up = list(islice(plain(sphere(values, gamma), logs, theta), 400))
    found = list(islice(greedy_map(Features(values, Similarity("sphere", gamma)), logs, theta), 400))
    assert [j for j, *_ in found] == [j for j, *_ in kept_up]
    np.testing.assert_allclose([logs for *_, logs in found], [logs for *_, logs in kept_up], atol=1e-7)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_on_kernels_of_any_kind_of_ties_and_ranks(data):
    """Whole numbers: copies, rows at right angles and spans that are exact."""
    n, d = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 5))
    values = data.draw(arrays(np.float64, (n, d), elements=st.integers(-2, 2)))
    s = values @ values.T
    logs = data.draw(st.none() | arrays(np.float64, n, elements=st.integers(0, 2)))
    kept_up = list(plain(s, logs, 0.5))
    found = list(greedy_map(Matrix(s), logs, 0.5))
    assert [j for j, *_ in found] == [j for j, *_ in kept_up]


@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 20, 7), (64, 5, 64)])
def test_how_many_rows_are_looked_at_together_changes_nothing(sizes, monkeypatch):
    values = clustered(np.random.default_rng(1), 300, 16)
    want = [j for j, *_ in plain(sphere(values, 1.0))]
    for name, size in zip(("_MOST", "_HOT", "_WIDTH"), sizes):
        monkeypatch.setattr(f"curate.selectors.greedy_map.{name}", size)
    assert [j for j, *_ in greedy_map(Features(values, Similarity("sphere")))] == want


def rest_of(s, taken, i):
    """The variance of i given those taken, from nothing."""
    return s[i, i] - (s[i, taken] @ np.linalg.solve(s[np.ix_(taken, taken)], s[taken, i]) if taken else 0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_factor_that_is_brought_up_to_date_here_and_there(seed):
    """Panels of 2 columns and chunks of 4, so that rows are left in the middle of either."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(14, 14))
    s = root @ root.T + np.eye(14)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curate.selectors.cholesky._PANEL", 2)
        patch.setattr("curate.selectors.cholesky._CHUNK", 4)
        factor, left, taken = LazyFactor(Matrix(s)), list(range(14)), []
        while left:
            some = rng.permutation(left)[: rng.integers(0, len(left) + 1)]
            factor.update(some)
            for i in some:
                assert factor.variance[i] == pytest.approx(rest_of(s, taken, i), rel=1e-8)
            some = np.array(left[: rng.integers(1, 4)])  # of these the first one or two are taken
            factor.update(some)
            rest = s[np.ix_(some, some)]
            if taken:
                rest = rest - s[np.ix_(some, taken)] @ np.linalg.solve(s[np.ix_(taken, taken)], s[np.ix_(taken, some)])
            places = list(range(min(len(some), int(rng.integers(1, 3)))))
            columns = np.linalg.cholesky(rest)[:, places].T
            factor.take(some, places, columns)
            taken += [left.pop(0) for _ in places]
            if not left:
                break
            assert factor.variance[some[len(places) :]] == pytest.approx([rest_of(s, taken, i) for i in some[len(places) :]])
            assert (
                factor.variance[left]
                >= [s[i, i] - s[i, taken] @ np.linalg.solve(s[np.ix_(taken, taken)], s[taken, i]) - 1e-9 for i in left]
            ).all()


def test_a_copy_waits_until_nothing_else_is_left():
    values = np.random.default_rng(3).normal(size=(6, 4))
    values = np.concatenate([values, 3 * values[2:3], values[:1]])  # 6 copies 2 in direction, 7 copies 0
    found = dpp(values, rows(8, 8))
    assert sorted(found.index[:6].tolist()) == [0, 1, 2, 3, 4, 5] and found.index[6:].tolist() == [6, 7]
    assert np.isnan(found.gain[6:]).all() and np.isfinite(found.gain[:6]).all()
    assert found.reason[6] == found.reason[7] == "filled by index: the rows before it span it"
    assert found.shortfall == "2 of the 8 picks were filled by index: the picks before them span every row that is left."
    assert dpp(values, rows(8, 6)).shortfall is None
    better = dpp(values, rows(8, 8), quality=np.array([1.0, 1, 1, 1, 1, 1, 2, 9]), theta=0.5)
    assert set(better.index[:2].tolist()) == {7, 6} and "filled by quality" in better.shortfall
    assert better.index[6:].tolist() == [0, 2]


def test_a_rank_of_eight_asked_for_twenty_gives_twenty():
    values = np.random.default_rng(4).normal(size=(30, 8))
    found = dpp(values, rows(30, 20), similarity=Similarity("cosine"))
    assert len(found) == 20 == len(set(found.index.tolist())) and np.isfinite(found.gain).sum() == 8
    assert found.index[8:].tolist() == sorted(set(range(30)) - set(found.index[:8].tolist()))[:12]
    assert found.shortfall.startswith("12 of the 20 picks were filled")


def test_edges():
    values = np.random.default_rng(5).normal(size=(5, 3))
    assert len(dpp(values, rows(5, 0))) == 0
    whole = dpp(values, rows(5, 9))
    assert sorted(whole.index.tolist()) == [0, 1, 2, 3, 4]
    assert whole.shortfall == "The budget allows 9 rows, but only 5 of 5 rows could be used."
    one = dpp(values[:1], rows(1, 1))
    assert one.index.tolist() == [0] and one.gain.tolist() == [0]
    alike = dpp(np.ones((4, 3)), rows(4, 3))
    assert alike.index.tolist() == [0, 1, 2] and alike.shortfall.startswith("2 of the 3 picks")
    assert len(dpp(np.empty((0, 3)), rows(0, 0))) == 0


def test_rows_that_cannot_be_picked():
    values = np.random.default_rng(6).normal(size=(8, 4))
    values[1], values[4] = np.nan, 0
    quality = np.array([1.0, 1, NAN, 1, 1, 0, 1, 1])
    found = dpp(values, rows(8, 8), quality=quality, theta=0.1)
    assert sorted(found.index.tolist()) == [0, 3, 6, 7] and found.nulls == 4
    assert "only 4 of 8 rows could be used" in found.shortfall
    null = np.array([True] * 7 + [False])
    assert dpp(values, rows(8, 2), null=null).index.tolist() == [7]
    none = dpp(np.full((3, 0), NAN), rows(3, 2), null=np.ones(3, dtype=bool))
    assert len(none) == 0 and none.nulls == 3


def test_quality_alone():
    values, quality = np.ones((5, 2)), np.array([3.0, 1, 4, 1, 5])
    found = dpp(values, rows(5, 4), quality=quality, theta=1.0)
    assert found.index.tolist() == [4, 2, 0, 1] and found.gain.tolist() == np.log([5.0, 4, 3, 1]).tolist()
    assert found.shortfall is None


def test_tokens_stop_at_the_first_that_does_not_fit():
    values = np.random.default_rng(7).normal(size=(20, 6))
    costs = np.random.default_rng(8).integers(1, 30, 20).astype(float)
    order = dpp(values, rows(20, 20)).index
    for capacity in (0, 5, 60, 200, 10_000):
        found = dpp(values, Limit(costs, capacity, "tokens"))
        fits = int(np.searchsorted(np.cumsum(costs[order]), capacity, side="right"))
        assert found.index.tolist() == order[:fits].tolist()
    few = dpp(values, Limit(np.full(20, 50.0), 30, "tokens"))
    assert few.shortfall == "The first row needs 50 tokens, more than the budget of 30."


def test_equal_variances_go_to_the_lower_index():
    """Rows of the same numbers in other places are as far from a row of ones, but not in the last bits."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        numbers = rng.normal(size=60)
        values = np.array([np.ones(60), *(rng.permutation(numbers) for _ in range(40))])
        assert dpp(values, rows(41, 2)).index.tolist() == [0, 1]
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(40, 40)))[0]
    assert dpp(basis, rows(40, 3), similarity=Similarity("cosine")).index.tolist() == [0, 1, 2]


def test_what_makes_no_sense_is_refused():
    values = np.ones((3, 2))
    for quality, theta, said in ((None, 1.5, "theta"), (np.array([1.0, -1, 1]), 0.5, "below 0"), (np.ones(2), 0.5, "3 costs")):
        with pytest.raises(ValueError, match=said):
            dpp(values, rows(3, 1), quality=quality, theta=theta)
    with pytest.raises(ValueError, match="3 rows for 2 costs"):
        dpp(values, rows(2, 1))
