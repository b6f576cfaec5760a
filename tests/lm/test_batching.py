"""Batches and shards: every row once, within the budget, like lengths together, a function of the lengths alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.lm.batching import batches_by_length, shards_by_tokens

LENGTHS = st.lists(st.integers(1, 60), max_size=60).map(lambda some: np.array(some, dtype=np.int64))


@given(LENGTHS, st.integers(1, 200))
def test_batches_hold_every_row_once_within_the_budget(lengths, budget):
    batches = batches_by_length(lengths, budget)
    order = [int(i) for batch in batches for i in batch]
    assert sorted(order) == list(range(len(lengths)))
    assert order == sorted(order, key=lambda i: (lengths[i], i))  # ascending, ties by position
    for batch in batches:
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= budget
    for batch, following in zip(batches, batches[1:], strict=False):
        size = (len(batch) + 1) * lengths[following[0]]  # with one more row
        padding = size - lengths[batch].sum() - lengths[following[0]]
        assert size > budget or (len(batch) * lengths[batch].max() >= budget / 4 and padding > 0.03 * size)
        before = batch[:-1]  # and up to here it was well
        if len(before) and len(before) * lengths[before].max() >= budget / 4:
            assert len(batch) * lengths[batch].max() - lengths[batch].sum() <= 0.03 * len(batch) * lengths[batch].max()


@pytest.mark.parametrize(
    ("budget", "want"), [(310, [[1, 2, 0], [3]]), (300, [[1, 2, 0], [3]]), (299, [[1, 2], [0], [3]]), (1, 4)]
)
def test_padding_counts(budget, want):
    batches = [batch.tolist() for batch in batches_by_length(np.array([100, 98, 98, 1000]), budget)]
    assert batches == want if isinstance(want, list) else len(batches) == want


def test_long_tails_are_cut_before_they_are_padding():
    lengths = np.array([10] * 30 + [11] * 5 + [40, 90, 100])
    batches = [lengths[batch].tolist() for batch in batches_by_length(lengths, 1000)]
    assert batches == [
        [10] * 30,
        [11] * 5 + [40, 90],
        [100],
    ]  # 11s would pad by 9%, and the second holds less than a quarter until the 90
    assert sum(len(b) * max(b) for b in batches) < len(lengths) * 100


@given(LENGTHS, st.integers(1, 300))
def test_shards_hold_every_row_once_and_about_so_many_tokens(lengths, size):
    shards = shards_by_tokens(lengths, size)
    order = [int(i) for shard in shards for i in shard]
    assert order == sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    for shard in shards:
        assert len(shard) and lengths[shard[:-1]].sum() < size + lengths.max()
    assert len(shards) <= int(lengths.sum()) // size + 1


def test_nothing_makes_no_batches():
    assert batches_by_length(np.zeros(0, np.int64), 10) == [] == shards_by_tokens(np.zeros(0, np.int64), 10)
