"""TF-IDF, projected onto its leading directions (latent semantic analysis, doi 10.1002/asi.4630410906), by scikit-learn.

Kept without pickle: vocabulary.json (the words in the order of their columns), idf.npy, projection.npy.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

MAX_WORDS = 2**16  # the most frequent are kept
MAX_ROWS = 200_000  # that words and directions are learned from
SEED = 0  # of the randomised singular value decomposition

# Runs of word characters; of scripts that write no spaces, every character by itself.
WORD = r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+"

UNKNOWN = "no word of it is known"


def vectorizer(words: Sequence[str] | None = None) -> "TfidfVectorizer":
    """scikit-learn's, unfitted; with words, their columns are given."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    settings: dict[str, Any] = {"sublinear_tf": True, "token_pattern": WORD}
    return (
        TfidfVectorizer(**settings, vocabulary=words)
        if words is not None
        else TfidfVectorizer(**settings, max_features=MAX_WORDS)
    )


@dataclass(frozen=True)
class TfidfModel:
    """words: W of them. idf float64 [W], the weight of each. projection float64 [d, W]."""

    words: Sequence[str]
    idf: np.ndarray
    projection: np.ndarray

    @classmethod
    def fit(cls, texts: Iterable[str], dimensions: int) -> "TfidfModel":
        """Learn from texts in an order that is as good as random, of which the first `MAX_ROWS` are read.

        d is `dimensions`, or less where there are fewer texts or words. Texts without any word give d = 0.
        """
        from sklearn.decomposition import TruncatedSVD

        texts = list(islice(texts, MAX_ROWS))
        counter = vectorizer()
        if not any(map(counter.build_tokenizer(), texts)):
            return cls([], np.zeros(0), np.zeros((0, 0)))
        weights = counter.fit_transform(texts)
        words = counter.get_feature_names_out().tolist()
        if len(words) == 1:
            return cls(words, counter.idf_, np.eye(1))
        with np.errstate(invalid="ignore"):  # texts that are all alike have no variance for it to explain
            directions = TruncatedSVD(min(dimensions, *weights.shape), random_state=SEED).fit(weights)
        return cls(words, counter.idf_, directions.components_)

    def encode(self, texts: Sequence[str]) -> list[np.ndarray | str]:
        """For each text float32 [d], or why there is none."""
        if not self.words:
            return [UNKNOWN] * len(texts)
        known = vectorizer(self.words)
        known.idf_ = self.idf
        weights = known.transform(texts)
        vectors = (weights @ self.projection.T).astype(np.float32)
        return [vector if count else UNKNOWN for vector, count in zip(vectors, np.diff(weights.indptr), strict=True)]

    def save(self, folder: Path) -> None:
        (folder / "vocabulary.json").write_text(json.dumps(list(self.words), ensure_ascii=False), encoding="utf-8")
        np.save(folder / "idf.npy", self.idf)
        np.save(folder / "projection.npy", self.projection)

    @classmethod
    def load(cls, folder: Path) -> "TfidfModel":
        words = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
        arrays = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("idf", "projection"))
        return cls(words, *arrays)
