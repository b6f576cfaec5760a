"""Facility location and its relatives against their definitions, the plain greedy, and brute force."""

import tracemalloc
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from curate.budget import Limit
from curate.selectors.coverage import Coverage, objective
from curate.selectors.facility_location import conditional_gain, facility_location, mutual_information
from curate.selectors.greedy import exact_greedy
from curate.selectors.kernels import as_kernel
from curate.selectors.similarity import Similarity
from curate.selectors.vector_kernel import Vectors

OBJECTIVES = ["fl", "paper", "code", "cg"]


def rows(n, k):
    return Limit(np.ones(n), k)


# The definitions, one row at a time ------------------------------------------------------------------------------------


def fl(s, picked):
    return sum(max((s[i, j] for j in picked), default=0.0) for i in range(len(s)))


def flmi_paper(s, target, eta, picked):
    return fl(s, picked) + eta * sum(max(target[q, j] for q in range(len(target))) for j in picked)


def flmi_code(s, near, eta, picked):
    return sum(min(max((s[i, j] for j in picked), default=0.0), eta * max(near[i])) for i in range(len(s)))


def flcg(s, existing, nu, picked):
    return sum(max(max((s[i, j] for j in picked), default=0.0) - nu * max(existing[i]), 0.0) for i in range(len(s)))


def naive(value, m, k, costs=None):
    """Greedy as it is defined: every gain anew at every step; the lower index among equals."""
    picked, gains = [], []
    while len(picked) < min(k, m):
        now, best, highest = value(picked), None, -np.inf
        for j in sorted(set(range(m)) - set(picked)):
            gain = value([*picked, j]) - now
            if gain / (costs[j] if costs is not None else 1) > highest:
                best, highest, won = j, gain / (costs[j] if costs is not None else 1), gain
        picked.append(best)
        gains.append(won)
    return picked, gains


def kernel(seed, n, m, kind="whole"):
    """whole: integers, so that sums are exact and ties are many; with a zero column and two equal ones."""
    rng = np.random.default_rng(seed)
    s = rng.integers(0, 4, (n, m)).astype(float) if kind == "whole" else rng.random((n, m))
    if m > 3:
        s[:, 1], s[:, 2] = 0, s[:, 3]
    return s


def run(name, s, limit, seed, form=None, **options):
    """(our picks, the value of a set by the definition). form: what makes of s the kernel that ours gets."""
    n, m = s.shape
    rng, k = np.random.default_rng(seed + 1000), s if form is None else form(s)
    target, other = rng.integers(0, 4, (3, m)).astype(float), rng.integers(0, 3, (n, 2)).astype(float)
    if name == "fl":
        return facility_location(k, limit, **options), lambda picked: fl(s, picked)
    if name == "paper":
        found = mutual_information(k, target.max(axis=0), limit, eta=2.0, **options)
        return found, lambda picked: flmi_paper(s, target, 2.0, picked)
    if name == "code":
        found = mutual_information(k, other.max(axis=1), limit, eta=2.0, form="code", **options)
        return found, lambda picked: flmi_code(s, other, 2.0, picked)
    found = conditional_gain(k, other.max(axis=1), limit, nu=0.5, **options)
    return found, lambda picked: flcg(s, other, 0.5, picked)


# Greedy ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OBJECTIVES)
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 9), m=st.integers(1, 9), kind=st.sampled_from(["whole", "real"]))
def test_lazy_is_naive(name, seed, n, m, kind):
    s = kernel(seed, n, m, kind)
    found, value = run(name, s, rows(m, m), seed)
    want, gains = naive(value, m, m)
    np.testing.assert_allclose(found.gain, gains, atol=1e-9)
    if kind == "whole":
        assert found.index.tolist() == want and found.gain.tolist() == gains
    assert found.gain.sum() == pytest.approx(value(list(range(m))))
    for k in range(m):  # a smaller budget gives a prefix
        assert run(name, s, rows(m, k), seed)[0].index.tolist() == found.index[:k].tolist()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_lazy_is_naive_on_larger_kernels(name):
    for seed, kind in ((0, "real"), (1, "whole")):
        s = kernel(seed, 40, 30, kind)
        found, value = run(name, s, rows(30, 10), seed)
        assert found.index.tolist() == naive(value, 30, 10)[0]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_greedy_is_near_the_optimum(name):
    for seed in range(5):
        s = kernel(seed, 7, 8, "real")
        found, value = run(name, s, rows(8, 3), seed)
        best = max(value(list(some)) for some in combinations(range(8), 3))
        assert (1 - 1 / np.e) * best - 1e-12 <= value(found.index.tolist()) <= best + 1e-12


@pytest.mark.parametrize("form", [sparse.csc_matrix, sparse.csr_matrix, sparse.coo_array])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_sparse_kernel_is_the_dense_one_with_zeros(name, form):
    for seed, kind in ((3, "whole"), (4, "real")):
        s = kernel(seed, 30, 20, kind)
        s[s < (2 if kind == "whole" else 0.6)] = 0
        dense, value = run(name, s, rows(20, 20), seed)
        found, _ = run(name, s, rows(20, 20), seed, form)
        assert found.index.tolist() == dense.index.tolist()
        np.testing.assert_allclose(found.gain, dense.gain, atol=1e-12)
        assert dense.gain.sum() == pytest.approx(value(list(range(20))))


def test_rows_are_represented_and_columns_picked():
    s = np.zeros((4, 4))
    s[2, :], s[:, 1] = 1.0, 1.0  # row 2 is near everything, column 1 represents everything
    s[3, 3] = 0.5
    assert facility_location(s, rows(4, 1)).index.tolist() == [1]
    assert facility_location(s.T, rows(4, 1)).index.tolist() == [2]
    assert facility_location(np.ones((2, 5)), rows(5, 1)).index.tolist() == [0]
    with pytest.raises(ValueError, match="2 columns for 5 costs"):
        facility_location(np.ones((5, 2)), rows(5, 1))


def test_one_pick_of_each_block():
    s = np.kron(np.eye(3), np.ones((4, 4)))
    found = facility_location(s, rows(12, 4))
    assert found.index.tolist() == [0, 4, 8, 1] and found.gain.tolist() == [4, 4, 4, 0]
    assert found.reason[0] == "gain 4" and found.reason[3] == "gain 0"


def test_ties_go_to_the_lower_index():
    found = facility_location(np.eye(6), rows(6, 3))
    assert found.index.tolist() == [0, 1, 2]
    s = np.eye(6)
    s[5, 5] = 2
    assert facility_location(s, rows(6, 6)).index.tolist() == [5, 0, 1, 2, 3, 4]


def test_everything_nothing_and_a_shortfall():
    s = kernel(7, 6, 6, "real")
    assert len(facility_location(s, rows(6, 0))) == 0
    whole = facility_location(s, rows(6, 9))
    assert sorted(whole.index.tolist()) == list(range(6)) and np.isfinite(whole.gain).all()
    assert whole.shortfall == "The budget allows 9 rows, but only 6 of 6 rows could be used."
    assert facility_location(s, rows(6, 6)).shortfall is None
    assert facility_location(np.ones((1, 1)), rows(1, 1)).gain.tolist() == [1]
    assert len(facility_location(np.ones((0, 0)), rows(0, 0))) == 0


def test_rows_that_cannot_be_picked_are_counted():
    s = kernel(7, 6, 6, "real")
    null = np.array([True, False, False, True, False, False])
    found, part = facility_location(s, rows(6, 6), null=null), facility_location(s[:, ~null], rows(4, 4))
    assert found.index.tolist() == np.flatnonzero(~null)[part.index].tolist() and found.nulls == 2
    s[:, 0] = np.nan
    assert facility_location(s, rows(6, 6), null=null).index.tolist() == found.index.tolist()
    with pytest.raises(ValueError, match="not finite"):
        facility_location(s, rows(6, 6))
    none = facility_location(s, rows(6, 2), null=np.ones(6, dtype=bool))
    assert len(none) == 0 and none.nulls == 6 and "only 0 of 6" in none.shortfall


def test_negative_similarities_cover_nothing():
    s = -np.ones((3, 3))
    assert facility_location(s, rows(3, 3)).gain.tolist() == [0, 0, 0]


# Tokens ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_budget_of_tokens_takes_gain_per_token(name):
    for seed in range(6):
        s = kernel(seed, 8, 9)
        costs = np.random.default_rng(seed).integers(1, 30, 9).astype(float)
        found, value = run(name, s, Limit(costs, 1e9, "tokens"), seed)
        order, gains = naive(value, 9, 9, costs)
        assert found.index.tolist() == order and found.gain.tolist() == gains
        for capacity in (0, 10, 40, 90):
            small, _ = run(name, s, Limit(costs, capacity, "tokens"), seed)
            fits = int(np.searchsorted(np.cumsum(costs[order]), capacity, side="right"))
            assert small.index.tolist() == order[:fits]


def test_the_cheaper_of_equal_rows_is_taken_first_and_a_free_one_counts_as_one_token():
    limit = Limit(np.array([20.0, 10.0, 0.0]), 30, "tokens")
    found = facility_location(np.array([[2.0, 2.0, 0.1]]), limit)
    assert found.index.tolist()[0] == 1
    assert facility_location(np.array([[2.0, 2.0, 1.0]]), limit).index.tolist()[0] == 2
    with_none = facility_location(np.ones((1, 2)), Limit(np.array([50.0, 60.0]), 30, "tokens"))
    assert with_none.shortfall == "The first row needs 50 tokens, more than the budget of 30."


# Relatives -------------------------------------------------------------------------------------------------------------


def test_the_forms_of_mutual_information_choose_differently():
    s = np.array([[1.0, 0.2, 0.1], [0.2, 1.0, 0.1], [0.1, 0.1, 0.9]])
    near = np.array([0.0, 0.0, 0.8])  # only the last row is near the target
    assert facility_location(s, rows(3, 1)).index.tolist() == [0]
    paper = mutual_information(s, near, rows(3, 3))
    code = mutual_information(s, near, rows(3, 3), form="code")
    assert paper.index.tolist() == [2, 0, 1] and (paper.gain > 0.5).all()
    assert code.index.tolist() == [2, 0, 1] and code.gain.tolist() == pytest.approx([0.8, 0, 0])  # it saturates
    assert mutual_information(s, near, rows(3, 1), eta=0.0).index.tolist() == [0]


def test_without_target_or_existing_data_it_is_facility_location():
    s = kernel(5, 8, 6, "real")
    want = facility_location(s, rows(6, 4))
    for found in (
        mutual_information(s, None, rows(6, 4)),
        mutual_information(s, None, rows(6, 4), form="code"),
        conditional_gain(s, None, rows(6, 4)),
    ):
        assert found.index.tolist() == want.index.tolist() and found.gain.tolist() == want.gain.tolist()


def test_a_copy_of_an_existing_row_gains_nothing():
    s = kernel(6, 9, 7, "real")
    found = conditional_gain(s, s[:, 4], rows(7, 7))
    assert found.gain[found.index.tolist().index(4)] == 0
    half = conditional_gain(s, s[:, 4], rows(7, 7), nu=0.5)
    assert half.gain[half.index.tolist().index(4)] >= 0 and half.gain.sum() > found.gain.sum()


def test_what_makes_no_sense_is_refused():
    s = np.ones((3, 2))
    with pytest.raises(ValueError, match="one number per column"):
        mutual_information(s, np.ones(3), rows(2, 1))
    with pytest.raises(ValueError, match="one number per row"):
        mutual_information(s, np.ones(2), rows(2, 1), form="code")
    with pytest.raises(ValueError, match="one number per row"):
        conditional_gain(s, np.ones(2), rows(2, 1))
    with pytest.raises(ValueError, match="form"):
        mutual_information(s, np.ones(2), rows(2, 1), form="both")
    with pytest.raises(ValueError, match="greedy"):
        facility_location(s, rows(2, 1), greedy="eager")


def test_the_value_of_a_set_is_the_sum_of_its_gains():
    s = kernel(8, 9, 7, "real")
    covering = Coverage(as_kernel(s), covered=s[:, 4], bonus=np.arange(7.0))
    found = list(exact_greedy(covering))
    want = sum(max(max(s[i]) - s[i, 4], 0) for i in range(9)) + 21
    assert objective(covering, [j for j, _ in found]) == pytest.approx(want) == sum(gain for _, gain in found)
    assert objective(covering, []) == 0


# Stochastic ------------------------------------------------------------------------------------------------------------


def test_stochastic_greedy_lies_between_random_and_greedy():
    rng = np.random.default_rng(0)
    points = rng.random((200, 5))
    s = np.exp(-4 * ((points[:, None] - points) ** 2).sum(axis=2))
    exact = facility_location(s, rows(200, 20))
    found = facility_location(s, rows(200, 20), greedy="stochastic", rng=np.random.default_rng(1))
    chance = np.mean([fl(s, rng.choice(200, 20, replace=False)) for _ in range(5)])
    assert len(set(found.index.tolist())) == 20 and found.gain.sum() == pytest.approx(fl(s, found.index))
    assert chance < 0.98 * found.gain.sum() and 0.97 * exact.gain.sum() < found.gain.sum() < exact.gain.sum()
    again = facility_location(s, rows(200, 20), greedy="stochastic", rng=np.random.default_rng(1))
    other = facility_location(s, rows(200, 20), greedy="stochastic", rng=np.random.default_rng(2))
    assert again.index.tolist() == found.index.tolist() != other.index.tolist()


def test_stochastic_greedy_that_sees_every_row_is_greedy():
    s = kernel(9, 20, 12)
    for k in (1, 5, 12):
        # eps so small that each sample is of all that is left
        found = facility_location(s, rows(12, k), greedy="stochastic", eps=1e-9, rng=np.random.default_rng(0))
        assert found.index.tolist() == facility_location(s, rows(12, k)).index.tolist()
    with pytest.raises(ValueError, match="generator"):
        facility_location(s, rows(12, 3), greedy="stochastic")


def test_stochastic_greedy_by_tokens_stays_within_them():
    s, costs = kernel(9, 20, 30, "real"), np.random.default_rng(3).integers(1, 9, 30).astype(float)
    found = facility_location(s, Limit(costs, 40, "tokens"), greedy="stochastic", rng=np.random.default_rng(0))
    assert 30 < costs[found.index].sum() <= 40


class Counted(Coverage):
    """Counts the gains that were computed anew."""

    def gains(self, columns):
        self.count = getattr(self, "count", 0) + len(columns)
        return super().gains(columns)


@pytest.mark.parametrize("memory, most", [(2**30, 330), (2**10, 600)])  # in float64, and in float32
def test_hardly_a_gain_is_computed_anew(memory, most):
    points = np.random.default_rng(0).normal(size=(600, 8))
    counted = Counted(Vectors(points, similarity=Similarity("cosine"), memory=memory))
    picked = [j for j, _ in zip(exact_greedy(counted), range(300))]
    assert len(picked) == 300 and counted.count < most


@pytest.mark.parametrize("cap", [None, "cap"])
@pytest.mark.parametrize("make", ["array", "sparse", "held", "others", "computed"])
def test_gains_that_are_followed_are_those_computed_anew(make, cap):
    """After every pick, for each kind of kernel, narrowed or not."""
    rng = np.random.default_rng(1)
    points, others = rng.normal(size=(90, 4)), rng.normal(size=(60, 4))
    s = cosine(points, others)
    kernels = {
        "array": s, "sparse": sparse.csr_matrix(np.maximum(s, 0)), "held": Vectors(points), "others": Vectors(points, others),
        "computed": Vectors(points, others, memory=0),
    }  # fmt: skip
    limit = None if cap is None else rng.uniform(0.2, 1, 90)
    covering = Coverage(kernels[make], covered=rng.uniform(0, 0.3, 90), cap=limit)
    followed = covering.follow()
    m = covering.kernel.shape[1]
    for j in rng.permutation(m)[:40].tolist():
        covering.take(j)
        want = covering.kernel.gains(covering.covered, covering.cap)
        np.testing.assert_allclose(followed, want, atol=1e-5 if make == "computed" else 1e-10)


# Vectors ---------------------------------------------------------------------------------------------------------------


def cosine(a, b):
    return (a @ b.T) / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)


SIMILARITIES = {
    "cosine": lambda a, b: np.maximum(cosine(a, b), 0),
    "shifted": lambda a, b: (1 + cosine(a, b)) / 2,
    "sphere": lambda a, b: np.exp(3 * (cosine(a, b) - 1) / 2),
    "rbf": lambda a, b: np.exp(-3 * ((a[:, None] - b) ** 2).sum(axis=2)),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SIMILARITIES)
def test_vectors_give_the_kernel_of_their_similarity(name, dtype):
    rng = np.random.default_rng(2)
    values, others = rng.normal(size=(70, 6)).astype(dtype), rng.normal(size=(5, 6)).astype(dtype)
    s, t = (SIMILARITIES[name](values.astype(float), b.astype(float)) for b in (values, others))
    made = Vectors(values, similarity=Similarity(name, 3.0), block=16)
    np.testing.assert_allclose(np.array([made.column(j)[1] for j in range(70)]).T, s, atol=1e-12)
    found, want = facility_location(made, rows(70, 20)), facility_location(s, rows(70, 20))
    assert found.index.tolist() == want.index.tolist()
    np.testing.assert_allclose(found.gain, want.gain, atol=1e-9)
    to_others = Vectors(values, others, similarity=Similarity(name, 3.0), block=16)
    np.testing.assert_allclose(to_others.best_of_columns(), t.max(axis=1), atol=1e-12)
    np.testing.assert_allclose(
        Vectors(others, values, similarity=Similarity(name, 3.0), block=16).best_of_rows(), t.max(axis=1), atol=1e-12
    )


def test_rows_that_represent_each_other_are_ties():
    """(1 - c_i) + (p - c_j) is (p - c_i) + (1 - c_j), but not in the last bits."""
    rng = np.random.default_rng(0)
    near = np.diag(rng.uniform(0.5, 0.9, 200))
    s = np.block([[np.eye(200), near], [near, np.eye(200)]])
    found = conditional_gain(s, rng.uniform(0, 0.4, 400), rows(400, 200))
    assert (found.index < 200).all()


def test_equal_vectors_are_ties():
    values = np.random.default_rng(0).normal(size=(40, 7)).astype(np.float32)
    values = np.concatenate([values, values, values])[np.random.default_rng(1).permutation(120)]
    first = [min(np.flatnonzero((values == row).all(axis=1)).tolist()) for row in values]
    found = facility_location(Vectors(values), rows(120, 40))
    assert [first[j] for j in found.index] == found.index.tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SIMILARITIES)
def test_a_copy_gains_nothing_whatever_the_rounding(name, dtype):
    values = np.random.default_rng(1).normal(size=(50, 90)).astype(dtype)
    similarity = Similarity(name, 0.05)
    covered = Vectors(values, values[:20], similarity=similarity).best_of_columns()
    found = conditional_gain(Vectors(values, similarity=similarity), covered, rows(50, 50))
    assert found.index[30:].tolist() == list(range(20)) and not found.gain[30:].any() and (found.gain[:30] > 0).all()
    twice = facility_location(Vectors(np.concatenate([values, values]), similarity=similarity), rows(100, 100))
    assert twice.index[50:].tolist() == list(range(50, 100)) and not twice.gain[50:].any()


def test_a_kernel_that_does_not_fit_is_never_held_whole():
    values = np.random.default_rng(0).normal(size=(3000, 8)).astype(np.float32)
    Vectors(values[:50], memory=0).gains(np.zeros(50), None)  # imports
    tracemalloc.start()
    found = facility_location(Vectors(values, block=64, memory=2**20), rows(3000, 300))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 300 and peak < 3000 * 3000 * 4 / 2


def test_what_has_no_direction_is_not_usable():
    values = np.array([[1.0, 0], [np.nan, 0], [0, 0], [1e-9, 0], [0, np.inf]], dtype=np.float32)
    assert Similarity("cosine").usable(values).tolist() == [True, False, False, False, False]
    assert Similarity("rbf").usable(values).tolist() == [True, False, True, True, False]
    with pytest.raises(ValueError, match="gamma"):
        Similarity("sphere", 0.0)


def test_all_alike():
    found = facility_location(Vectors(np.ones((5, 3), np.float32)), rows(5, 5))
    assert found.index.tolist() == [0, 1, 2, 3, 4] and found.gain[0] == pytest.approx(5) and not found.gain[1:].any()
