"""The network of NN-CIFT on influences that are known, and on none."""

import numpy as np
import pytest

from curate.agreement import SHARES, agreement, spearman, top_overlap
from curate.influence_network import InfluenceNetwork, NetworkConfig, train_network

PAPER = NetworkConfig(min_steps=0, patience=1000)


def unit(n, d, seed):
    values = np.random.default_rng(seed).standard_normal((n, d))
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def learned(rows, examples, table, share=0.2, seed=0, config=PAPER):
    """(network, the rows and examples that are new) trained on the first share of both sides."""
    a, b = int(share * len(rows)), int(share * len(examples))
    index = np.indices((a, b)).reshape(2, -1).T
    network = train_network(rows, examples, index, table[:a, :b].reshape(-1), np.random.default_rng(seed), config)
    return network, (slice(a, None), slice(b, None))


def test_an_influence_of_both_sides_is_learned():
    """sigmoid(w.e_i + v.e_j) in 16 dimensions, from 80 x 80 of 400 x 400 pairs."""
    rows, examples, rng = unit(400, 16, 1), unit(400, 16, 2), np.random.default_rng(3)
    w, v = rng.standard_normal((2, 16))
    table = 1 / (1 + np.exp(-(rows @ w)[:, None] - (examples @ v)[None]))
    network, new = learned(rows, examples, table)
    predicted = network.predict(rows[new[0]], examples[new[1]])
    assert spearman(predicted.reshape(-1), table[new].reshape(-1)) > 0.9
    error = np.mean((predicted - table[new]) ** 2)
    assert error < 0.5 * np.mean((table[:80, :80].mean() - table[new]) ** 2)  # by the mean of what it was trained on
    assert error < 0.5 * np.mean(table[new] ** 2)  # by zero
    assert network.steps == 20 * -(-(72 * 72) // 64) and network.held_out < 0.1
    swapped = network.predict(examples[new[1]], rows[new[0]]).T
    assert spearman(swapped.reshape(-1), table[new].reshape(-1)) < 0.6
    mean = np.full_like(table[new], table[:80, :80].mean())  # small error, and no ranking at all
    assert np.mean((mean - table[new]) ** 2) < 0.1 and np.isnan(agreement(mean, table[new], rng).spearman)


@pytest.mark.parametrize("seed", range(2))
def test_noise_is_not_learned(seed):
    rows, examples = unit(300, 16, 1), unit(300, 16, 2)
    table = np.random.default_rng(10 + seed).standard_normal((300, 300))
    network, new = learned(rows, examples, table, seed=seed, config=NetworkConfig())
    found = network.predict(rows[new[0]], examples[new[1]])
    assert abs(spearman(found.reshape(-1), table[new].reshape(-1))) < 0.1


def test_an_influence_of_the_row_alone_tells_the_two_sides_apart():
    rows, examples = unit(200, 8, 1), unit(200, 8, 2)
    table = np.repeat(rows[:, :1], 200, axis=1)
    network, new = learned(rows, examples, table, config=NetworkConfig(learning_rate=1e-3))
    right = network.predict(rows[new[0]], examples[new[1]])
    assert spearman(right.reshape(-1), table[new].reshape(-1)) > 0.9
    turned = network.predict(examples[new[1]], rows[new[0]])  # the arguments exchanged, and the answer not
    assert abs(spearman(turned.reshape(-1), table[new].reshape(-1))) < 0.3


def test_predictions_are_those_of_the_network_pair_by_pair():
    rng = np.random.default_rng(0)
    network = InfluenceNetwork(*(rng.standard_normal(s).astype(np.float32) for s in ((5, 7), 5, 5)), last=0.3, low=-2.0, high=4.0)
    rows, examples = rng.standard_normal((6, 3)), rng.standard_normal((9, 4))
    for i in range(6):
        for j in range(9):
            hidden = np.maximum(network.first @ np.concatenate([rows[i], examples[j]]) + network.bias, 0)
            assert network.predict(rows, examples)[i, j] == pytest.approx(-2 + 6 * (hidden @ network.second + 0.3), abs=1e-4)
    assert network.parameters == 5 * 7 + 5 + 5 + 1
    assert network.scaled(np.array([-2.0, 1.0, 4.0])).tolist() == [0, 0.5, 1]


def test_blocks_do_not_matter(monkeypatch):
    rows, examples, rng = unit(50, 4, 1), unit(60, 4, 2), np.random.default_rng(0)
    network, _ = learned(rows, examples, rng.random((50, 60)))
    whole = network.predict(rows, examples)
    monkeypatch.setattr("curate.influence_network.BLOCK_NUMBERS", 1)
    np.testing.assert_allclose(network.predict(rows, examples), whole, atol=1e-6)


def test_equal_values_give_a_constant():
    network, _ = learned(unit(20, 4, 1), unit(20, 4, 2), np.full((20, 20), 0.3))
    assert network.constant and network.steps == 0
    assert network.predict(unit(3, 4, 5), unit(2, 4, 6)).tolist() == np.full((3, 2), np.float32(0.3)).tolist()
    assert network.scaled(np.array([0.3])).tolist() == [0]


def test_a_value_of_examples_alone_needs_no_rows():
    """A pointwise value: one row of no dimensions."""
    examples = unit(400, 8, 2)
    index = np.stack([np.zeros(200, np.int64), np.arange(200)], axis=1)
    config = NetworkConfig(learning_rate=1e-3)
    network = train_network(np.zeros((1, 0)), examples, index, examples[:200, 0], np.random.default_rng(0), config)
    found = network.predict(np.zeros((1, 0)), examples[200:])
    assert found.shape == (1, 200) and spearman(found[0], examples[200:, 0]) > 0.9
    assert network.parameters == 100 * 8 + 100 + 100 + 1


def test_training_stops_where_held_out_pairs_say_so_and_keeps_the_best():
    rows, examples, noise = unit(40, 16, 1), unit(40, 16, 2), np.random.default_rng(3).standard_normal((40, 40))
    config = NetworkConfig(learning_rate=1e-2, epochs=60, min_steps=0, patience=3)
    network, _ = learned(rows, examples, noise, share=1.0, config=config)
    assert network.steps < 60 * -(-(36 * 36) // 64)
    worse, _ = learned(rows, examples, noise, share=1.0, config=config.model_copy(update={"patience": 10**6}))
    assert worse.held_out <= network.held_out < 1.2 * np.var((noise - noise.min()) / np.ptp(noise))


def test_the_seed_is_all_there_is_to_chance():
    rows, examples, table = unit(30, 4, 1), unit(30, 4, 2), np.random.default_rng(3).random((30, 30))
    one, same, other = (learned(rows, examples, table, seed=seed)[0] for seed in (5, 5, 6))
    assert np.array_equal(one.first, same.first) and not np.array_equal(one.first, other.first)


@pytest.mark.parametrize("values", [[np.nan, 1.0], []])
def test_what_cannot_be_learned_is_refused(values):
    with pytest.raises(ValueError, match="finite values, at least one"):
        train_network(unit(2, 4, 1), unit(2, 4, 2), np.zeros((len(values), 2), int), np.array(values), np.random.default_rng(0))


# How well predictions rank --------------------------------------------------------------------------------------------


def test_agreement_of_what_is_equal_and_of_what_is_not():
    rng = np.random.default_rng(0)
    true = rng.standard_normal((12, 10))
    found = agreement(3 * true + 1, true, rng)
    assert (found.spearman, found.overlaps, found.p) == (pytest.approx(1), (1.0, 1.0), 1 / 1000)
    assert not found.by_chance and not found.too_small
    assert agreement(-true, true, rng).p == 1.0 and agreement(-true, true, rng).by_chance
    true[0, 0] = np.nan
    assert agreement(np.nan_to_num(true), true, rng).spearman == pytest.approx(1)


@pytest.mark.parametrize(
    ("shape", "too_small"), [((2, 2), True), ((2, 3), True), ((1, 3), True), ((3, 3), False), ((1, 4), False)]
)
def test_so_few_pairs_that_chance_ranks_them_as_well(shape, too_small):
    """Of 2 x 2 pairs there are 4 orders of rows and examples, so the best of rankings comes about in one of four."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        true = rng.standard_normal(shape)
        found = agreement(true, true, rng)
        assert found.spearman == pytest.approx(1) and found.too_small == too_small == found.by_chance
        assert found.p == pytest.approx(found.least, abs=0.05)


def test_the_overlaps_are_of_the_best_and_of_what_is_selected():
    true = np.arange(40.0).reshape(4, 10)
    predicted = true.copy()
    predicted[3, :4], predicted[0, :4] = -1.0, 50.0  # of the top 30%, four of twelve are lost, none of them in the top 10%
    assert agreement(predicted, true, np.random.default_rng(0)).overlaps == (0.0, 8 / 12)
    assert SHARES == (0.1, 0.3)


def test_rows_that_differ_do_not_pass_for_many_pairs():
    """Both tables differ by row alone, and not in the same way: a rank correlation of 100 numbers would find that certain."""
    from scipy.stats import spearmanr

    naive, ours = [], []
    for seed in range(80):
        rng = np.random.default_rng(seed)
        one, other = (np.repeat(rng.standard_normal((10, 1)), 10, axis=1) + 0.1 * rng.standard_normal((10, 10)) for _ in range(2))
        naive.append(spearmanr(one.reshape(-1), other.reshape(-1), alternative="greater").pvalue < 0.05)
        ours.append(not agreement(one, other, rng).by_chance)
    assert np.mean(naive) > 0.15 and np.mean(ours) <= 0.1


def test_the_top_by_hand():
    assert top_overlap(np.array([4.0, 3, 2, 1]), np.array([4.0, 1, 3, 2]), 0.5) == 0.5
    assert top_overlap(np.array([1.0, 1, 1, 1]), np.array([4.0, 1, 3, 2]), 0.25) == 1.0  # ties to the smaller position
    assert spearman(np.array([1.0, 2, 3]), np.array([1.0, 4, 9])) == pytest.approx(1)
