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
        assert (len(batch) + 1) * lengths[following[0]] > budget  # one more row would not have fitted


@pytest.mark.parametrize(("budget", "want"), [(10, [[1, 2, 0], [3]]), (9, [[1, 2, 0], [3]]), (8, [[1, 2], [0], [3]]), (1, 4)])
def test_padding_counts(budget, want):
    batches = [batch.tolist() for batch in batches_by_length(np.array([3, 2, 2, 30]), budget)]
    assert batches == want if isinstance(want, list) else len(batches) == want


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
