"""TF-IDF against the formula written out, and what its vectors must do."""

import math
import re
from collections import Counter

import numpy as np
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from curate.embedding import tfidf
from curate.embedding.tfidf import UNKNOWN, TfidfModel

ANIMALS = ["cat", "dog", "owl", "hen", "fox", "ape", "bee", "ant"]
PLACES = ["barn", "wood", "lake", "road", "hill"]
TEXTS = [f"The {a} went to the {b}, {i} times" for i, (a, b) in enumerate((a, b) for a in ANIMALS for b in PLACES)]


def by_hand(texts):
    """(1 + ln count) (1 + ln((1 + n) / (1 + df))), each row of length 1; words sorted."""
    split = [Counter(re.findall(r"\w+", text.lower())) for text in texts]
    words = sorted(set().union(*split))
    df = {word: sum(word in row for row in split) for word in words}
    idf = {word: 1 + math.log((1 + len(texts)) / (1 + df[word])) for word in words}
    weights = np.array([[(1 + math.log(row[w])) * idf[w] if row[w] else 0.0 for w in words] for row in split])
    return words, weights / np.linalg.norm(weights, axis=1, keepdims=True)


def test_all_directions_keep_every_angle():
    words, weights = by_hand(TEXTS)
    model = TfidfModel.fit(TEXTS, 10_000)
    assert model.words == words
    vectors = np.stack(model.encode(TEXTS))
    np.testing.assert_allclose(vectors @ vectors.T, weights @ weights.T, atol=1e-5)


def test_scikit_learn_says_the_same():
    weights = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w+").fit_transform(TEXTS)
    want = TruncatedSVD(8, random_state=0).fit_transform(weights)
    found = np.stack(TfidfModel.fit(TEXTS, 8).encode(TEXTS))
    assert found.dtype == np.float32 and found.shape == (40, 8)
    np.testing.assert_allclose(found, want, atol=1e-4)


def test_results_are_those_of_this_version():
    """When this fails, the same texts get other vectors: raise EMBED_VERSION."""
    from curate.embedding.record import EMBED_VERSION

    texts = ["red red fish", "red sky", "blue sky over blue blue water", "no fish in the water 12"]
    want = [[0.85717, -0.25326, -0.24362], [0.87425, -0.21405, 0.2059]]
    np.testing.assert_allclose(TfidfModel.fit(texts, 3).encode(texts[:2]), want, atol=1e-4)
    assert EMBED_VERSION == 1


def test_a_text_is_embedded_alike_in_any_company(tmp_path):
    model = TfidfModel.fit(TEXTS, 16)
    together, alone = model.encode(TEXTS), [model.encode([text])[0] for text in TEXTS]
    assert np.array_equal(np.stack(together), np.stack(alone))
    model.save(tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".npy", ".npy"]
    again = TfidfModel.load(tmp_path)
    assert np.array_equal(np.stack(again.encode(TEXTS)), np.stack(together))
    assert np.array_equal(TfidfModel.fit(TEXTS, 16).projection, model.projection)


def test_a_near_duplicate_is_the_nearest():
    near = [text.replace("went", "ran") for text in TEXTS]
    vectors = np.stack(TfidfModel.fit(TEXTS + near, 64).encode(TEXTS + near))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    alike = vectors @ vectors.T - 2 * np.eye(80)
    assert alike.argmax(axis=1).tolist() == [*range(40, 80), *range(40)]


def test_no_known_word_is_said():
    model = TfidfModel.fit(TEXTS, 8)
    known, *unknown = model.encode(["a CAT", "zebra", "", "?!"])
    assert isinstance(known, np.ndarray) and np.linalg.norm(known) > 0 and unknown == [UNKNOWN] * 3


@pytest.mark.parametrize("texts", [["", "?"], ["word"], ["one two", "one two"]])
def test_little_to_learn_from(texts, tmp_path):
    model = TfidfModel.fit(texts, 8)
    model.save(tmp_path)
    found = TfidfModel.load(tmp_path).encode(texts)
    assert found == [UNKNOWN] * 2 if not model.words else all(np.linalg.norm(v) == pytest.approx(1, abs=1e-5) for v in found)


def test_words_without_spaces_between_them():
    words = TfidfModel.fit(["私は猫です", "дом 12 a_b"], 8).words
    assert set(words) == {*"私は猫です", "дом", "12", "a_b"}


def test_what_is_learned_from_is_bounded(monkeypatch):
    monkeypatch.setattr(tfidf, "MAX_WORDS", 5)
    monkeypatch.setattr(tfidf, "MAX_ROWS", 10)
    model = TfidfModel.fit(TEXTS, 8)
    assert len(model.words) == 5 and "the" in model.words and "ant" not in model.words
    assert TfidfModel.fit(TEXTS[:10], 8).words == model.words
