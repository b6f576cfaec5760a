"""Which tokens are kept: known answers, and the fast rule against a slow stable sort."""

import math
from fractions import Fraction

import numpy as np
import pytest

from curate.errors import InputError
from curate.selectors.tokens import best, keep_tokens, share_of

# Base less reference losses of three samples with 4, 2 and 1 reply tokens (arXiv 2502.01968's own functions give this answer).
DIFFERENCES = [np.array([1, -0.5, 2.5, 0]), np.array([3, 0.0]), np.array([0.1])]


def kept(found):
    return [(row, place) for row, mask in enumerate(found) for place in np.flatnonzero(mask).tolist()]


def slow_best(scores, k):
    """Sorted stably, best first, the first k; scores stay Python floats."""
    ranked = sorted(range(len(scores)), key=lambda i: (-float(scores[i]), i))
    return sorted(ranked[:k])


def slow_global(scores, share):
    flat = [(row, place) for row, values in enumerate(scores) for place in range(len(values))]
    count = math.floor(Fraction(str(share)) * len(flat))
    return sorted(flat[i] for i in slow_best([scores[row][place] for row, place in flat], count))


def slow_sample(scores, share):
    return [
        (row, place)
        for row, values in enumerate(scores)
        for place in slow_best(values, math.floor(Fraction(str(share)) * len(values)))
    ]


def test_known_answer_of_the_global_threshold():
    """floor(0.6 * 7) = 4 tokens; a toy off by one would have the neighbours, ceil five of them."""
    assert kept(keep_tokens(DIFFERENCES, 0.6)) == [(0, 0), (0, 2), (1, 0), (2, 0)]
    shifted = [np.roll(values, 1) for values in DIFFERENCES]
    assert kept(keep_tokens(shifted, 0.6)) == [(0, 1), (0, 3), (1, 1), (2, 0)]


def test_known_answer_by_sample():
    """floor(2.4), floor(1.2) and floor(0.6): the sample of one token loses it."""
    found = keep_tokens(DIFFERENCES, 0.6, threshold="sample")
    assert kept(found) == [(0, 0), (0, 2), (1, 0)]


@pytest.mark.parametrize("threshold", ["global", "sample"])
def test_a_share_of_one_keeps_all(threshold):
    assert all(mask.all() for mask in keep_tokens(DIFFERENCES, 1.0, threshold=threshold))


def test_equal_scores_favour_early_tokens_of_early_rows():
    assert kept(keep_tokens([np.zeros(2), np.zeros(3)], 0.6)) == [(0, 0), (0, 1), (1, 0)]
    assert kept(keep_tokens([np.zeros(4), np.zeros(5)], 0.5, threshold="sample")) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    minus = np.array([-0.0, 0.0, -0.0])  # one number, however it is written
    assert kept(keep_tokens([minus], 0.34)) == [(0, 0)]


@pytest.mark.parametrize("seed", range(30))
def test_as_a_stable_sort_has_it(seed):
    rng = np.random.default_rng(seed)
    lengths, share = rng.integers(0, 12, rng.integers(1, 15)), round(float(rng.uniform(0.2, 1)), 2)
    scores = [rng.integers(-3, 4, n) / 4 if seed % 2 else rng.normal(size=n) for n in lengths]  # with many ties, with none
    scores.append(np.arange(5.0))
    assert kept(keep_tokens(scores, share)) == slow_global(scores, share)
    assert kept(keep_tokens(scores, share, threshold="sample")) == slow_sample(scores, share)


def test_infinite_scores_have_their_place():
    assert kept(keep_tokens([np.array([-np.inf, 1.0, np.inf])], 0.67)) == [(0, 1), (0, 2)]


@pytest.mark.parametrize(("scores", "share"), [(DIFFERENCES, 0.14), ([], 0.6), ([np.zeros(0)], 1.0)])
def test_nothing_to_keep_is_refused(scores, share):
    with pytest.raises(InputError, match="no token"):
        keep_tokens(scores, share)


def test_nothing_left_by_sample_is_refused():
    with pytest.raises(InputError, match="no token"):
        keep_tokens([np.zeros(1), np.zeros(1)], 0.6, threshold="sample")


def test_none_where_there_may_be_none():
    assert [mask.tolist() for mask in keep_tokens([np.zeros(1)], 0.6, may_be_none=True)] == [[False]]
    assert keep_tokens([], 0.6, may_be_none=True) == []


def test_what_cannot_be():
    with pytest.raises(ValueError, match="row 1"):
        keep_tokens([np.zeros(2), np.array([0, np.nan])], 0.6)
    for share in (0, -0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="share"):
            keep_tokens(DIFFERENCES, share)
    with pytest.raises(ValueError, match="threshold"):
        keep_tokens(DIFFERENCES, 0.6, threshold="batch")


def test_shares_of_counts_do_not_feel_the_floats():
    """0.1 * 30 is 3.0000000000000004 in floats, and 0.29 * 100 is 28.999999999999996."""
    assert share_of(0.1, 30, up=True) == share_of(0.1, 30) == 3
    assert share_of(0.29, 100) == share_of(0.29, 100, up=True) == 29
    assert (share_of(0.6, 1), share_of(0.6, 1, up=True), share_of(0.6, 0, up=True)) == (0, 1, 0)


def test_best_of_some():
    assert best(np.array([2.0, 1.0, 2.0, 2.0]), 2).tolist() == [True, False, True, False]
    assert best(np.zeros(0), 0).tolist() == [] and not best(np.ones(3), 0).any()
    with pytest.raises(ValueError, match="4 of 3"):
        best(np.ones(3), 4)
