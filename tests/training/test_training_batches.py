import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import InputError
from curate.training.batches import micro_batches, plan_batches, split_batch
from curate.training.config import TrainConfig


def plan(lengths, seed=0, **settings):
    return plan_batches(np.array(lengths), TrainConfig(**settings), np.random.default_rng(seed))


class Unshuffled(np.random.Generator):
    """Stands in for a generator where the order has to be known."""

    def permutation(self, n, axis=0):
        return np.arange(n)


@pytest.mark.parametrize(
    ("lengths", "batches"),
    [
        # 4 + 4 + 4 passes 10; then 8 more are enough to reach 20, and so on.
        ([4] * 8, [[0, 1, 2], [3, 4], [5, 6, 7]]),
        # What is left over joins the last batch if it is little, and is a batch if it is much.
        ([5, 5, 5, 5, 4], [[0, 1], [2, 3, 4]]),
        ([5, 5, 5, 5, 6], [[0, 1], [2, 3], [4]]),
        ([4], [[0]]),
        # A row longer than a batch closes it, and the account is evened out afterwards.
        ([3, 25, 2, 2, 2, 16], [[0, 1], [2], [3], [4, 5]]),
    ],
)
def test_account_is_cumulative(lengths, batches):
    planned = plan_batches(np.array(lengths), TrainConfig(batch_tokens=10), Unshuffled(np.random.PCG64()))
    assert [batch.tolist() for batch in planned] == batches


def test_epochs_are_shuffled_anew():
    order = np.concatenate(plan([3] * 50, epochs=2, batch_tokens=30))
    assert sorted(order[:50]) == sorted(order[50:]) == list(range(50))
    assert order[:50].tolist() != order[50:].tolist()


def test_part_of_an_epoch():
    assert len(np.concatenate(plan([3] * 10, epochs=0.5))) == 5
    assert len(np.concatenate(plan([3] * 10, epochs=2.3))) == 23


def test_seed_decides():
    one, same, other = (np.concatenate(plan([3] * 50, seed=seed)).tolist() for seed in (0, 0, 1))
    assert one == same != other


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=30),
    st.integers(60, 100),
    st.integers(1, 1000),
    st.integers(0, 3),
)
def test_equal_tokens_are_equal_steps(lengths, batch_tokens, tokens, seed):
    lengths = np.array(lengths)
    batches = plan(lengths, seed, tokens=tokens, batch_tokens=batch_tokens)
    spent = np.cumsum([lengths[batch].sum() for batch in batches])
    assert tokens <= spent[-1] < tokens + lengths.max()
    assert len(batches) == max(1, round(tokens / batch_tokens))
    due = np.arange(1, len(batches)) * batch_tokens
    assert ((spent[:-1] >= due) & (spent[:-1] < due + lengths.max())).all()


@given(st.lists(st.integers(1, 90), min_size=1, max_size=30), st.integers(1, 60), st.floats(0.1, 3))
def test_epochs_use_every_row(lengths, batch_tokens, epochs):
    batches = plan(lengths, epochs=epochs, batch_tokens=batch_tokens)
    assert len(np.concatenate(batches)) == max(1, round(epochs * len(lengths)))
    assert all(len(batch) for batch in batches)


@given(st.lists(st.integers(1, 90), min_size=1, max_size=10), st.integers(1, 60), st.integers(1, 20))
def test_steps_are_steps(lengths, batch_tokens, steps):
    assert len(plan(lengths, steps=steps, batch_tokens=batch_tokens)) == steps


def test_nothing_to_train_on():
    with pytest.raises(InputError, match="no rows"):
        plan([])
    with pytest.raises(InputError, match="row 1 has no tokens"):
        plan([3, 0])


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 8))
def test_micro_batches_keep_every_row(lengths, parts):
    lengths, batch = np.array(lengths), np.arange(len(lengths))
    cut = split_batch(lengths, batch, parts)
    assert len(cut) == parts
    assert sorted(np.concatenate(cut)) == batch.tolist()
    assert max(lengths[rows].sum() for rows in cut) <= lengths.sum() / parts + lengths.max()


def test_as_few_micro_batches_as_keep_padding_low():
    lengths = np.array([10] * 10 + [100])
    batch = [np.arange(11)]
    assert len(micro_batches(lengths, batch, None, 1, padding_limit=10.0)[0]) == 1
    assert len(micro_batches(lengths, batch, None, 1, padding_limit=0.0)[0]) == 2
    assert len(micro_batches(lengths, batch, 3, 2, padding_limit=0.0)[0]) == 6


def test_into_how_many_parts_batches_are_cut_is_told_by_the_first():
    """A plan must not draw the batches of a run of a million steps to tell how it would cut them."""
    from curate.training.trainer import accumulation

    lengths = np.random.default_rng(0).integers(5, 200, 500)
    short, long = (TrainConfig(batch_tokens=512, tokens=tokens) for tokens in (300_000, 10**12))
    assert accumulation(lengths, long, "cpu") == accumulation(lengths, short, "cpu") > 1
