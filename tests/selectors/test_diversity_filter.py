"""The diversity filter in score order against the loop that compares row by row."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from curate.budget import Limit
from curate.selectors import diversity_filter as module
from curate.selectors.diversity_filter import diversity_filter
from curate.selectors.top_k import top_k

NAN = float("nan")


def rows(n, k):
    return Limit(np.ones(n), k)


def loop(values, by, limit, threshold):
    """(taken, [(left out, nearest taken, cosine)]): the rule written out; what differs by rounding alone is equal."""
    taken, left_out, spent = [], [], 0.0
    unit = [v / max(np.linalg.norm(v), 1e-30) for v in values.astype(float)]
    usable = [i for i in range(len(values)) if not np.isnan(by[i]) and np.linalg.norm(values[i]) >= 1e-8]
    for i in sorted(usable, key=lambda i: (-by[i], i)) if limit.capacity else []:
        cosines = [float(unit[i] @ unit[j]) for j in taken]
        highest = max(cosines, default=-2)
        if highest > threshold + 1e-12:
            left_out.append((i, taken[next(p for p, c in enumerate(cosines) if c >= highest - 1e-12)], highest))
            continue
        spent += limit.costs[i]
        if spent > limit.capacity:
            break
        taken.append(i)
    return taken, left_out


def agree(values, by, limit, threshold):
    found, near = diversity_filter(values, by, limit, threshold=threshold)
    taken, left_out = loop(values, by, limit, threshold)
    assert found.index.tolist() == taken and found.gain.tolist() == [by[i] for i in taken]
    assert list(zip(near.left_out.tolist(), near.taken.tolist())) == [(i, j) for i, j, _ in left_out]
    np.testing.assert_allclose(near.cosine, [c for *_, c in left_out], atol=1e-12)
    return found, near


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_it_is_the_loop_on_whole_numbers(data):
    """Copies, opposites, zero rows, equal cosines and equal scores, in blocks of any size."""
    n, d = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 3))
    values = data.draw(arrays(np.float64, (n, d), elements=st.integers(-2, 2)))
    by = np.array(data.draw(st.lists(st.sampled_from([0.0, 1.0, 2.0, NAN]), min_size=n, max_size=n)))
    limit = Limit(
        np.array(data.draw(st.lists(st.integers(0, 5), min_size=n, max_size=n)), float), data.draw(st.integers(0, 40)), "tokens"
    )
    threshold = data.draw(st.sampled_from([-1.0, -0.5, 0.0, np.sqrt(0.5), 0.8, 1.0]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", data.draw(st.integers(1, 8)))
        patch.setattr(module, "_PAIRS", data.draw(st.integers(1, 8)))
        agree(values, by, limit, threshold)


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_the_loop_on_clusters(threshold, dtype):
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(60, 24))[rng.integers(0, 60, 900)] + 0.5 * rng.normal(size=(900, 24))).astype(dtype)
    by = rng.normal(size=900).round(1)
    found, near = agree(values, by, rows(900, 900), threshold)
    assert len(near.left_out) > 20 and len(found) + len(near.left_out) == 900
    assert found.shortfall == (
        f"The budget allows 900 rows, but of 900 rows only {len(found)} lie apart: "
        f"{len(near.left_out)} have a cosine above {threshold:g} with one of them."
    )
    unit = values[found.index].astype(float) / np.linalg.norm(values[found.index].astype(float), axis=1, keepdims=True)
    assert (np.tril(unit @ unit.T, -1) <= threshold + 1e-12).all()
    for k in (1, 7, len(found) - 1):
        few, nearer = agree(values, by, rows(900, k), threshold)
        assert few.index.tolist() == found.index[:k].tolist() and few.shortfall is None
        assert nearer.left_out.tolist() == near.left_out[: len(nearer.left_out)].tolist()


def test_cosines_that_float32_cannot_tell_apart():
    """Steps of 1e-9 about the threshold, in blocks that begin anywhere."""
    rng = np.random.default_rng(1)
    d, threshold = 64, 0.7
    cosines = threshold + 1e-9 * rng.permutation(np.arange(-40, 41))
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
    values = np.concatenate([basis[:1], cosines[:, None] * basis[0] - np.sqrt(1 - cosines**2)[:, None] * basis[1:2]])
    values[1:, :] += 0  # all beside the first row; among themselves they are copies up to 1e-9
    for block in (1, 5, 256):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "_BLOCK", block)
            found, near = agree(values, -np.arange(82.0), rows(82, 82), threshold)
    assert len(found) == 2 and set(near.left_out[near.taken == 0]) <= set(np.flatnonzero(np.append(0, cosines) > threshold))


def test_thresholds_at_the_ends():
    rng = np.random.default_rng(2)
    values, by = np.repeat(rng.normal(size=(10, 5)), 3, axis=0) * rng.random((30, 1)), rng.normal(size=30)
    whole, near = diversity_filter(values, by, rows(30, 20), threshold=1.0)
    assert whole.index.tolist() == top_k(by, rows(30, 20)).index.tolist() and not len(near.left_out)
    one, near = diversity_filter(values, by, rows(30, 20), threshold=-1.0)
    assert one.index.tolist() == [int(by.argmax())] and (near.taken == by.argmax()).all() and len(near.left_out) == 29
    assert one.reason == ["the highest score"]


def test_what_is_said():
    values = np.array([[1.0, 0], [0, 1], [1, 0.01], [3, 4]])
    found, near = diversity_filter(values, [4.0, 3, 2, 1], rows(4, 3), threshold=0.9)
    assert found.index.tolist() == [0, 1, 3] and found.shortfall is None
    assert found.reason == ["the highest score", *(f"cosine {c} with the nearest row before it" for c in ("0.000", "0.800"))]
    assert near.left_out.tolist() == [2] and near.taken.tolist() == [0] and near.cosine[0] == pytest.approx(1 / np.sqrt(1.0001))
    few = diversity_filter(values, [4.0, 3, 2, 1], Limit(np.full(4, 50.0), 30, "tokens"))[0]
    assert few.shortfall == "The first row needs 50 tokens, more than the budget of 30." and not len(few)


def test_rows_that_cannot_be_picked():
    values, by = np.eye(8), np.arange(8.0)
    values[1], values[4], by[6] = NAN, 0, NAN
    null = np.array([True] + [False] * 7)
    found, near = diversity_filter(values, by, rows(8, 8), null=null)
    assert found.index.tolist() == [7, 5, 3, 2] and found.nulls == 4 and not len(near.left_out)
    assert found.shortfall == "The budget allows 8 rows, but only 4 of 8 rows could be used."
    for n, k in ((0, 0), (0, 3), (8, 0)):
        assert len(diversity_filter(values[:n], by[:n], rows(n, k))[0]) == 0
    assert len(diversity_filter(np.full((3, 0), NAN), np.ones(3), rows(3, 2), null=np.ones(3, dtype=bool))[0]) == 0


def test_what_makes_no_sense_is_refused():
    for threshold in (1.1, NAN):
        with pytest.raises(ValueError, match="threshold"):
            diversity_filter(np.eye(3), np.ones(3), rows(3, 1), threshold=threshold)
    with pytest.raises(ValueError, match="2 rows for 3 costs"):
        diversity_filter(np.eye(3)[:2], np.ones(3), rows(3, 1))
    with pytest.raises(ValueError, match="2,.* for 3 costs"):
        diversity_filter(np.eye(3), np.ones(2), rows(3, 1))
