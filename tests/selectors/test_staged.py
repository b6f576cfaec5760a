"""Large kernels: narrowed, in float32, in stages, and how good their picks are said to be; against plain greedy and brute force."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from curate.budget import Limit
from curate.selectors import coverage as coverage_module
from curate.selectors.bound import bound, estimated
from curate.selectors.coverage import Coverage, objective
from curate.selectors.facility_location import facility_location, maximise
from curate.selectors.kernels import Dense, as_kernel
from curate.selectors.similarity import Similarity
from curate.selectors.sparse import Sparse
from curate.selectors.staged import near
from curate.selectors.vector_kernel import Vectors


def rows(n, k):
    return Limit(np.ones(n), k)


def points(n, d=16, clusters=0, seed=0):
    rng = np.random.default_rng(seed)
    middles = rng.normal(size=(clusters, d))[rng.integers(clusters, size=n)] if clusters else 0
    return (middles + 0.5 * rng.normal(size=(n, d))).astype(np.float32)


def cosine(values):
    unit = values.astype(float) / np.linalg.norm(values.astype(float), axis=1, keepdims=True)
    return np.maximum(unit @ unit.T, 0)


def value(s, picked, cap=np.inf, before=0.0):
    """The definition: sum_i max(0, min(max_j s_ij, cap_i) - before_i)."""
    return float(np.maximum(np.minimum(s[:, picked].max(axis=1), cap) - before, 0).sum()) if len(picked) else 0.0


# Narrowing -------------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 12), m=st.integers(1, 9), capped=st.booleans(), kind=st.integers(0, 2))
def test_what_lies_above_is_all_that_gains(seed, n, m, capped, kind):
    rng = np.random.default_rng(seed)
    s, covered = rng.integers(0, 5, (n, m)) / 4, rng.integers(0, 5, n) / 4
    cap = rng.integers(0, 5, n) / 4 if capped else None
    want = np.maximum((s if cap is None else np.minimum(s, cap[:, None])) - covered[:, None], 0)
    kernel = [Dense(s), as_kernel(np.asfortranarray(s)), Sparse.of(sparse.csc_matrix(s))][kind]
    part = kernel.above(covered, cap)
    np.testing.assert_allclose(kernel.gains(covered, cap), want.sum(axis=0))
    np.testing.assert_allclose(part.gains(covered, cap), want.sum(axis=0))
    some = rng.permutation(m)[: rng.integers(1, m + 1)]
    np.testing.assert_allclose(part.gains(covered, cap, some), want.sum(axis=0)[some])
    np.testing.assert_allclose(part.only(some).gains(covered, cap), want.sum(axis=0)[some])
    assert len(part.values) == (want > 0).sum()  # and nothing else is kept
    assert part.columns().tolist() == np.nonzero(want.T)[0].tolist() and part.rows.tolist() == np.nonzero(want.T)[1].tolist()


@pytest.mark.parametrize("memory", [1e9, 0])
@pytest.mark.parametrize("block", [None, 7])
def test_what_lies_above_of_vectors(memory, block):
    values, rng = points(60), np.random.default_rng(1)
    covered, cap = rng.random(60), rng.random(60)
    kernel = Vectors(values, block=block, memory=memory)
    s = cosine(values)
    want = np.maximum(np.minimum(s, cap[:, None]) - covered[:, None], 0)
    np.testing.assert_allclose(kernel.above(covered, cap).gains(covered, cap), want.sum(axis=0), atol=1e-4)
    np.testing.assert_allclose(kernel.gains(covered, cap), want.sum(axis=0), atol=1e-4)
    shuffled = [(some, np.arange(60)) for some in np.array_split(rng.permutation(60), 4)]
    parts = [(np.sort(columns), at) for columns, at in shuffled]
    found, whole = kernel.above(covered, cap, parts), kernel.above(covered, cap)
    assert found.starts.tolist() == whole.starts.tolist() and found.rows.tolist() == whole.rows.tolist()
    np.testing.assert_allclose(found.values, whole.values, atol=1e-6)


@pytest.mark.parametrize("tile", [7, 60, 100])
def test_a_held_kernel_is_its_own_mirror_image(tile, monkeypatch):
    monkeypatch.setattr("curate.selectors.vector_kernel.TILE", tile)
    values = points(60)
    held = Vectors(values).held()
    np.testing.assert_allclose(held, cosine(values), atol=1e-12)
    np.testing.assert_array_equal(held, held.T)
    np.testing.assert_allclose(Vectors(values, values[:9]).held(), cosine(values)[:9], atol=1e-12)


def test_narrowing_changes_no_pick(monkeypatch):
    s = cosine(points(300, clusters=20))
    found = facility_location(s, rows(300, 150))
    monkeypatch.setattr(coverage_module, "FIRST", 10**9)
    plain = facility_location(s, rows(300, 150))
    assert found.index.tolist() == plain.index.tolist()
    np.testing.assert_allclose(found.gain, plain.gain, atol=1e-9)


def test_it_narrows():
    covering = Coverage(Vectors(points(300, clusters=20)))
    for j in range(150):
        covering.take(j)
    kept = covering._now
    assert isinstance(kept, Sparse) and len(kept.values) < 0.06 * 300 * 300
    s = cosine(points(300, clusters=20))
    np.testing.assert_allclose(covering.covered, s[:, :150].max(axis=1), atol=1e-12)


@pytest.mark.parametrize("clusters", [0, 50])
def test_in_float32_it_is_the_same_objective_to_a_millionth(clusters, monkeypatch):
    monkeypatch.setattr("curate.selectors.vector_kernel.EXACT_BYTES", 0)
    values = points(1500, 32, clusters)
    assert Vectors(values).dtype is np.float32
    exact = facility_location(cosine(values), rows(1500, 150))
    found = facility_location(Vectors(values), rows(1500, 150))
    s = cosine(values)
    assert value(s, found.index) == pytest.approx(value(s, exact.index), rel=1e-6)
    assert found.gain.sum() == pytest.approx(value(s, found.index), rel=1e-6)


def test_in_float32_a_copy_gains_nothing(monkeypatch):
    monkeypatch.setattr("curate.selectors.vector_kernel.EXACT_BYTES", 0)
    values = points(60, 90)
    found = facility_location(Vectors(np.concatenate([values, values])), rows(120, 120))
    assert (found.gain[:60] > 0).all() and not found.gain[60:].any()


# Stages ----------------------------------------------------------------------------------------------------------------


def staged(values, k, neighbours=40, memory=4 * 400**2, **options):
    limit = options.pop("limit", rows(len(values), k))
    return facility_location(Vectors(values, memory=memory), limit, neighbours=neighbours, **options)


@pytest.mark.parametrize("clusters", [0, 50])
def test_stages_come_near_greedy(clusters):
    values = points(2000, 32, clusters)
    s = cosine(values)
    exact, found = facility_location(s, rows(2000, 200)), staged(values, 200, bounded=True)
    chance = value(s, np.random.default_rng(0).permutation(2000)[:200])
    best = value(s, exact.index)
    assert len(set(found.index.tolist())) == 200
    assert value(s, found.index) > best - 0.15 * (best - chance)
    assert "chosen by samples" in found.remarks[0] and "reach at least" in found.remarks[1]


def test_gains_of_stages_are_those_of_all_rows():
    values = points(1000, 32, 30)
    s, found = cosine(values), staged(values, 100, memory=4 * 100**2)
    for k in (1, 5, 25, 40, 100):
        assert found.gain[:k].sum() == pytest.approx(value(s, found.index[:k]), rel=1e-5)


def test_a_smaller_budget_gives_a_prefix_of_stages():
    values = points(1000, 32, 30)
    found = staged(values, 100)
    for k in (0, 1, 24, 25, 26, 60):
        assert staged(values, k).index.tolist() == found.index[:k].tolist()
    assert sorted(staged(values, 1000).index.tolist()) == list(range(1000))


def test_stages_without_samples_are_greedy():
    """With so many neighbours that a single pick comes of a sample, all others are exact."""
    values = points(300, 16, 10)
    found = staged(values, 60, neighbours=300, memory=4 * 60**2)
    s = cosine(values)
    first = found.index[0]
    want = maximise(Coverage(s, covered=s[:, first]), rows(300, 59))
    np.testing.assert_allclose(found.gain[1:], want.gain, rtol=1e-4, atol=1e-4)


def test_stages_by_tokens_with_caps_and_bonuses():
    values, rng = points(800, 16, 30), np.random.default_rng(0)
    costs, bonus, cap = rng.integers(1, 90, 800).astype(float), rng.random(800), rng.random(800)
    before, s = 0.3 * rng.random(800), cosine(values)
    exact = maximise(Coverage(s, covered=before, cap=cap, bonus=bonus), Limit(costs, 4000, "tokens"))
    covering = Coverage(Vectors(values, memory=4 * 200**2), covered=before, cap=cap, bonus=bonus)
    found = maximise(covering, Limit(costs, 4000, "tokens"), neighbours=40, bounded=True)
    f = [value(s, p.index, cap, before) + bonus[p.index].sum() for p in (exact, found)]
    assert 3900 < costs[found.index].sum() <= 4000 and f[1] > 0.98 * f[0]
    assert found.gain.sum() == pytest.approx(f[1], rel=1e-4)


def test_near_clusters_are_most_of_it():
    values = points(3000, 16, 30)
    s = cosine(values)
    found = staged(values, 300, max_pairs=3000**2 / 3, bounded=True)
    assert "near clusters" in found.remarks[0] and "97.5% confidence" in found.remarks[1]
    assert value(s, found.index) > 0.97 * value(s, facility_location(s, rows(3000, 300)).index)


def test_near_parts_are_each_column_once_with_its_cluster():
    values = points(3000, 8, 6)
    for kernel in (Vectors(values, memory=0), Vectors(values, values[:2000], memory=0)):
        parts = list(near(kernel, 0.4 * kernel.shape[0] * kernel.shape[1]))
        assert sorted(np.concatenate([columns for columns, _ in parts]).tolist()) == list(range(kernel.shape[1]))
        pairs = sum(len(columns) * len(at) for columns, at in parts)
        assert 0.3 < pairs / (kernel.shape[0] * kernel.shape[1]) < 0.8
        for columns, at in parts:
            assert np.isin(columns, at).mean() >= (1 if kernel.symmetric else 0.6) and len(np.unique(at)) == len(at)


def test_scores_of_many_rows_are_estimates(monkeypatch):
    monkeypatch.setattr(coverage_module, "ROWS", 500)
    values = points(2000, 16, 30)
    covering = Coverage(Vectors(values, memory=0))
    assert covering.sampled and not Coverage(Vectors(values)).sampled
    np.testing.assert_allclose(covering.alone(), cosine(values).sum(axis=0), rtol=0.2)


# Bounds ----------------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 8), k=st.integers(1, 4), capped=st.booleans(), tokens=st.booleans())
def test_no_picks_are_better_than_the_bound(seed, n, k, capped, tokens):
    rng = np.random.default_rng(seed)
    s, before, bonus = rng.random((n, n)), 0.3 * rng.random(n), rng.random(n) * rng.integers(0, 2)
    cap = rng.random(n) if capped else np.full(n, np.inf)
    costs = rng.integers(0, 5, n).astype(float) if tokens else np.ones(n)
    limit = Limit(costs, k, "tokens" if tokens else "rows")
    covering = Coverage(s, covered=before, cap=cap if capped else None, bonus=bonus)
    picks = maximise(covering, limit)
    f = lambda some: value(s, list(some), cap, before) + bonus[list(some)].sum()  # noqa: E731
    best = max(f(some) for r in range(n + 1) for some in combinations(range(n), r) if costs[list(some)].sum() <= k)
    found = bound(covering, covering.kernel, covering.before, picks.index, f(picks.index), limit)
    assert best <= found.most + 1e-9 and found.ratio <= 1
    narrowed = bound(covering, covering.kernel.above(covering.before + 0.2), covering.before + 0.2, picks.index, 0.0, limit)
    assert best <= narrowed.most + 1e-9
    assert not found.estimated and "97.5%" not in str(found)


def test_bounds_are_tight_where_a_choice_is_best():
    s = np.kron(np.eye(5), np.ones((4, 4)))
    found = facility_location(s, rows(20, 5), bounded=True)
    assert found.remarks == ("the picks reach at least 100.0% of what the best possible would",)
    values = points(1000, 32, 40)
    found = facility_location(Vectors(values), rows(1000, 100), bounded=True)
    assert float(found.remarks[0].split("least ")[1].split("%")[0]) > 97


def test_estimates_of_a_bound_cover_it():
    """Of many estimates few lie below what they estimate."""
    values = points(6000, 8, 40)
    kernel, s = Vectors(values), cosine(values)
    covering, limit, picked = Coverage(kernel), rows(6000, 300), np.arange(300)
    prices = s[:, picked].max(axis=1)
    most = prices.sum() + np.sort(np.maximum(s - prices[:, None], 0).sum(axis=0))[-300:].sum()
    found = [estimated(covering, kernel, prices, 1.0, limit, np.random.default_rng(seed)) for seed in range(40)]
    below = np.mean([one.most < most for one in found])
    assert below <= 0.1 and all(one.estimated for one in found)
    assert np.median([one.most for one in found]) < 1.02 * most


def test_similarities_of_all_kinds_in_stages():
    values = points(500, 8, 20)
    for name in ("shifted", "sphere", "rbf"):
        similarity = Similarity(name, 0.7)
        held = Vectors(values, similarity=similarity)
        kernel = Vectors(values, similarity=similarity, memory=4 * 150**2)
        found = facility_location(kernel, rows(500, 80), neighbours=40)
        best = objective(Coverage(held), facility_location(held, rows(500, 80)).index)
        assert objective(Coverage(held), found.index) > 0.99 * best
