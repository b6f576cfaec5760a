"""Vectors in few bits: how far off they are, entry by entry and in their cosines."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.lm.gradient_codes import decoded, encoded, stored_type
from curate.signals import as_vectors


def there_and_back(vectors, dtype):
    kept = pa.array(encoded(vectors, dtype), stored_type(dtype))
    reasons = np.array([None if v is not None else "none" for v in vectors], dtype=object)
    return as_vectors(decoded(pa.chunked_array([kept[:2], kept[2:]]), dtype), np.arange(len(vectors)), reasons).values, kept


@given(st.integers(1, 70), st.integers(0, 3), st.floats(1e-20, 1e20))
@settings(max_examples=30, deadline=None)
def test_int8_is_off_by_half_a_scale_at_most(size, seed, unit):
    vectors = np.random.default_rng(seed).standard_normal((5, size)).astype(np.float32) * np.float32(unit)
    found, _ = there_and_back(list(vectors), "int8")
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    assert (np.abs(found - vectors) <= 0.5001 * largest / 127).all() and found.shape == vectors.shape
    np.testing.assert_allclose(np.abs(found).max(axis=1, keepdims=True), largest, rtol=1e-5)


@given(st.integers(1, 70), st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_one_bit_keeps_signs_and_length(size, seed):
    vectors = np.random.default_rng(seed).standard_normal((5, size)).astype(np.float32)
    found, _ = there_and_back(list(vectors), "1bit")
    assert np.array_equal(np.sign(found), np.sign(vectors)) and (np.ptp(np.abs(found), axis=1) == 0).all()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.linalg.norm(vectors, axis=1), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["int8", "1bit"])
def test_rows_without_a_vector_stay_so_and_zero_stays_zero(dtype):
    found, kept = there_and_back([np.ones(9), None, np.zeros(9), None, -np.ones(9)], dtype)
    np.testing.assert_allclose(found[[0, 2, 4]], [np.ones(9), np.zeros(9), -np.ones(9)], rtol=1e-6)
    assert np.isnan(found[[1, 3]]).all() and kept.null_count == 2
    nothing, _ = there_and_back([None, None, None], dtype)
    assert nothing.shape == (3, 0)


def test_cosines_come_out_as_the_arcsine_law_and_its_like_say():
    rng = np.random.default_rng(0)
    true = np.linspace(-0.9, 0.9, 19)
    one, other = rng.standard_normal((2, 19, 20_000))
    other = true[:, None] * one + np.sqrt(1 - true**2)[:, None] * other
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    (a, _), (b, _), (c, _) = (
        there_and_back(list(one), "1bit"),
        there_and_back(list(other), "1bit"),
        there_and_back(list(one), "int8"),
    )
    error = 4 / np.sqrt(20_000)
    np.testing.assert_allclose((unit(a) * unit(other)).sum(axis=1), np.sqrt(2 / np.pi) * true, rtol=0, atol=error)
    np.testing.assert_allclose((unit(a) * unit(b)).sum(axis=1), 2 / np.pi * np.arcsin(true), rtol=0, atol=error)
    exact = (unit(one) * unit(other)).sum(axis=1)
    np.testing.assert_allclose((unit(c) * unit(other)).sum(axis=1), exact, rtol=0, atol=1e-3)
    assert np.abs(np.sqrt(2 / np.pi) * true - true).max() > 3 * error


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("float16", 2), ("int8", 1), ("1bit", 1 / 8)])
def test_bytes_of_a_row(dtype, size):
    vectors = np.random.default_rng(0).standard_normal((50, 1024)).astype(np.float16 if dtype == "float16" else np.float32)
    kept = pa.array(encoded(list(vectors), dtype), stored_type(dtype))
    assert kept.nbytes / 50 == pytest.approx(1024 * size, abs=16)
