"""Random projections: the very entries, what they keep, and that neither blocks nor batches matter."""

import numpy as np
import pytest
import torch

from curate.lm import projection as module
from curate.lm.projection import Identity, Rademacher, Sketch, make_projection

KINDS = ("rademacher", "sparse", "sketch")


def dense(kind, size, dimensions, seed=0):
    """float64 [size, dimensions]: the matrix, from what the projection does to each unit vector."""
    return make_projection(kind, size, dimensions, seed)(torch.eye(size)).double()


def splitmix(seed, place, word):
    """The sequence of the generator in plain integers: 64 signs of a place."""
    mask = (1 << 64) - 1

    def mix(x):
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        return x ^ (x >> 31)

    golden = 0x9E3779B97F4A7C15
    key = mix((seed + 1) * golden & mask)
    number = mix(key + (place * 65536 + word + 1) * golden & mask)
    return [1.0 if number >> bit & 1 else -1.0 for bit in range(64)]


@pytest.mark.parametrize("seed", [0, 5])
def test_the_signs_are_those_of_the_generator(seed):
    signs = Rademacher(10**9, 150, seed).signs(999, 1003)
    want = [[s for word in range(3) for s in splitmix(seed, place, word)][:150] for place in range(999, 1003)]
    assert signs.tolist() == want


def test_the_first_numbers_of_the_generator():
    """splitmix64 seeded with 0 begins so; published with its reference code."""
    golden = torch.tensor(module._GOLDEN)
    found = [int(module._mixed(golden * (i + 1))) & ((1 << 64) - 1) for i in range(3)]
    assert found == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@pytest.mark.parametrize("kind", KINDS)
def test_distances_and_cosines_are_kept(kind):
    rng = np.random.default_rng(0)
    base = rng.standard_normal((1, 20_000))
    vectors = torch.tensor(rng.standard_normal((12, 20_000)) + base * np.linspace(0, 3, 12)[:, None], dtype=torch.float32)
    short = make_projection(kind, 20_000, 2048, 0)(vectors)
    assert short.shape == (12, 2048) and short.dtype == torch.float32
    ratio = (torch.cdist(short, short) / torch.cdist(vectors, vectors))[~torch.eye(12, dtype=torch.bool)]
    # A squared length is off by sqrt(2 / d) = 0.031; a length by half of that.
    assert (ratio - 1).abs().max() < 0.08 and (ratio - 1).abs().max() > 0.002
    unit = torch.nn.functional.normalize
    off = unit(short) @ unit(short).T - unit(vectors) @ unit(vectors).T
    assert off.abs().max() < 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_entries_are_centred_scaled_and_uncorrelated(kind):
    matrix = dense(kind, 900, 256)
    assert abs(float(matrix.mean())) < 4 / 16 / 480  # 4 standard errors of 230,400 entries of variance 1 / 256
    assert float((matrix**2).sum(dim=1).mean()) == pytest.approx(1, abs=0.02)
    off = (matrix.T @ matrix)[~torch.eye(256, dtype=torch.bool)] * 256 / 900
    assert off.abs().max() < 0.25 and abs(float(off.mean())) < 0.003
    if kind == "rademacher":
        assert set(matrix.abs().unique().tolist()) == {1 / 16}
    elif kind == "sketch":
        assert set(matrix.unique().tolist()) == {-1, 0, 1} and ((matrix != 0).sum(dim=1) == 1).all()
    else:
        assert float((matrix != 0).double().mean()) == pytest.approx(1 / 30, rel=0.05)
        assert matrix[matrix != 0].abs().unique().numpy() == pytest.approx([np.sqrt(30) / 16])


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_product_with_its_matrix_however_cut(kind, monkeypatch):
    vectors = torch.randn(7, 700, generator=torch.Generator().manual_seed(0))
    want = vectors.double() @ dense(kind, 700, 100)
    for at_once in (1, 100 * 33, 1 << 25):
        monkeypatch.setitem(module.SIGNS_AT_ONCE, "cpu", at_once)
        monkeypatch.setattr(module, "PLACES_AT_ONCE", -(-at_once // 100))
        torch.testing.assert_close(make_projection(kind, 700, 100)(vectors).double(), want, rtol=0, atol=2e-5)
    parts = [make_projection(kind, 700, 100)(vectors[i : i + 2]) for i in range(0, 7, 2)]
    torch.testing.assert_close(torch.cat(parts).double(), want, rtol=0, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides(kind):
    assert torch.equal(dense(kind, 300, 80, 1), dense(kind, 300, 80, 1))
    same = (dense(kind, 300, 80, 1) == dense(kind, 300, 80, 2)).double().mean()
    assert same < {"rademacher": 0.6, "sparse": 0.95, "sketch": 1 - 1.5 / 80}[kind]


@pytest.mark.parametrize("seed", [0, 5])
def test_a_sketch_is_of_the_first_hash_of_each_place(seed):
    where, signs = Sketch(10**9, 150, seed).entries(999, 1003)
    for i, place in enumerate(range(999, 1003)):
        bits = splitmix(seed, place, 0)
        number = sum(1 << b for b in range(64) if bits[b] > 0)
        assert int(where[i]) == (number >> 32) * 150 >> 32 and float(signs[i]) == (1.0 if number & 1 else -1.0)
    assert torch.bincount(Sketch(10**6, 150, seed).entries(0, 15_000)[0], minlength=150).min() > 50  # of 100 on average


def test_a_sketch_takes_parts_as_they_come():
    vectors = torch.randn(3, 700, generator=torch.Generator().manual_seed(0))
    project, found = Sketch(700, 64, 3), torch.zeros(3, 64)
    for start, stop in ((300, 700), (0, 10), (10, 300)):
        project.add(found, vectors[:, start:stop], start)
    torch.testing.assert_close(found, project(vectors), rtol=0, atol=1e-5)
    assert found.abs().min() > 0


def test_a_sketch_errs_as_dense_signs_do_on_outer_products():
    """Gradients of linear layers: sums of a few outer products, whose entries share rows and columns, heavy tails and a mean."""
    rng = np.random.default_rng(0)
    columns = rng.standard_t(3, (2, 64)) * (1 + 5 * (np.arange(64) == 7))
    rows = [rng.standard_t(3, (8, 2)) + 1 for _ in range(24)]
    vectors = torch.tensor(np.stack([(g @ columns).ravel() for g in rows] + [(g @ columns).T.ravel() for g in rows]))
    unit = torch.nn.functional.normalize(vectors.float())
    square = (unit**2) @ (unit**2).T
    true, pairs = unit @ unit.T, torch.triu_indices(48, 48, 1)
    want = ((1 + true**2 - 2 * square) / 128)[*pairs].mean().sqrt()  # of any dense signs

    def error(kind):
        short = [make_projection(kind, 512, 128, seed)(unit) for seed in range(60)]
        return torch.stack([((s @ s.T - true)[*pairs] ** 2).mean() for s in short]).mean().sqrt()

    assert error("rademacher") == pytest.approx(float(want), rel=0.1)
    assert error("sketch") == pytest.approx(float(want), rel=0.1)


def test_fewer_dimensions_are_the_first_of_more():
    wide, narrow = Rademacher(500, 130, 0), Rademacher(500, 70, 0)
    assert torch.equal(wide.signs(3, 9)[:, :70], narrow.signs(3, 9))


def test_what_would_not_be_shorter_stays_as_it_is():
    vectors = torch.randn(3, 50, dtype=torch.float64)
    for made in (make_projection("none", 50, 10), make_projection("rademacher", 50, 50), make_projection("sparse", 50, 80)):
        assert isinstance(made, Identity) and made.dimensions == made.size == 50
        assert torch.equal(made(vectors), vectors.float())
