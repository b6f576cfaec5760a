"""Length-matched random choice: the lengths of the picks, and nothing else of them."""

import numpy as np
import pytest

from curate.selectors.matched import BINS, matched


def test_the_lengths_are_those_of_the_picks_and_the_rows_are_others():
    rng = np.random.default_rng(0)
    lengths = rng.lognormal(4, 1, 20_000).astype(int) + 1
    picked = rng.choice(20_000, 1000, replace=False, p=lengths / lengths.sum())  # a method that likes length
    drawn = matched(picked, lengths, np.random.default_rng(1))
    assert len(drawn) == 1000 == len(np.unique(drawn)) and (np.diff(drawn) > 0).all()
    plain = rng.choice(20_000, 1000, replace=False)
    for q in (5, 25, 50, 75, 95):
        assert np.percentile(lengths[drawn], q) == pytest.approx(np.percentile(lengths[picked], q), rel=0.1)
    assert np.median(lengths[plain]) < 0.6 * np.median(lengths[picked])  # a plain draw would not be matched
    # Picks are drawn again as often as chance has it: in a bin of n rows and k picks, k * k / n of them.
    edges = np.quantile(lengths[picked], np.linspace(0, 1, BINS + 1), method="inverted_cdf")
    at = np.searchsorted(edges[1:], lengths, side="left")
    at[lengths < edges[0]] = BINS
    k, n = (np.bincount(x, minlength=BINS + 1)[:BINS] for x in (at[picked], at[lengths <= edges[-1]]))
    expected = float((k**2 / n).sum())
    assert len(np.intersect1d(drawn, picked)) == pytest.approx(expected, abs=4 * np.sqrt(expected))


def test_each_row_of_a_bin_is_as_likely_as_any_other():
    lengths = np.repeat([10, 20], 50)
    counts = np.zeros(100)
    for seed in range(2000):
        counts[matched(np.arange(5), lengths, np.random.default_rng(seed))] += 1
    assert counts[50:].sum() == 0 and counts.sum() == 10_000
    assert np.abs(counts[:50] - 200).max() < 5 * np.sqrt(200)


def test_fresh_by_seed_and_the_same_by_the_same_seed():
    lengths = np.arange(1, 501)
    picked = np.arange(100, 300, 2)
    one, two = (matched(picked, lengths, np.random.default_rng(seed)).tolist() for seed in (1, 2))
    assert one == matched(picked, lengths, np.random.default_rng(1)).tolist() != two


def test_where_the_picks_are_all_of_their_lengths_there_is_no_choice():
    lengths = np.arange(100)
    assert matched(np.arange(90, 100), lengths, np.random.default_rng(0)).tolist() == list(range(90, 100))
    assert matched([], lengths, np.random.default_rng(0)).tolist() == []
    assert len(matched([3], lengths, np.random.default_rng(0))) == 1


@pytest.mark.parametrize("picked", [[1, 1], [100], [-1]])
def test_positions_at_fault(picked):
    with pytest.raises(ValueError, match="positions"):
        matched(picked, np.arange(100), np.random.default_rng(0))
