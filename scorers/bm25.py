"""BM25: the rows that share the rare words of a target."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from curate.embedding.tfidf import UNKNOWN, WORD
from curate.errors import InputError
from curate.lm.views import CONVERSATION
from curate.method import Cost, Data
from curate.requests import Request, Texts
from curate.signals import RowValues
from scorers.aimed import ByLikeness, Likeness, target_of


class BM25(ByLikeness):
    """Keep the rows whose words are those of target examples, rare words first.

    Score: the largest BM25 weight of the row's text for any target row as a query, at least 0; the target's rows take turns. No
    model reads anything. Source: Robertson and Zaragoza, doi 10.1561/1500000019; as a baseline in arXiv 2402.04333.
    """

    name: ClassVar[str] = "bm25"
    paper: ClassVar[str] = "doi 10.1561/1500000019"
    cost: ClassVar[Cost] = "tokenizer"

    k1: float = Field(1.2, ge=0, description="how soon a word that is said again stops counting")
    b: float = Field(0.75, ge=0, le=1, description="how much long texts are held back; 0 is not at all")

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """The texts of the pool and of the target."""
        return [Texts(rows, CONVERSATION) for rows in (data.pool, target_of(self, data))]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Likeness:
        """Weights [n, target rows]; unitless, at least 0."""
        pool, target = (seen[request] for request in self.requests(data, seen))
        weights, lengths = bm25(pool, target, k1=self.k1, b=self.b)
        if not weights.shape[1]:
            raise InputError(f"{self.name}: no text of the target has a word")
        reasons = pool.reasons.copy()
        reasons[(lengths == 0) & ~pool.is_null] = UNKNOWN
        weights[reasons != None] = np.nan  # noqa: E711 (elementwise)
        return Likeness(weights, reasons, data.target_sources or (None,) * len(target))


def bm25(texts: RowValues, queries: RowValues, *, k1: float, b: float) -> tuple[np.ndarray, np.ndarray]:
    """(float32 [n, m] weight of each text for each query, int64 [n] words of each text); [n, 0] where no query has a word.

    sum over the query's words, each as often as it is said there, of log(1 + (N - df + 0.5) / (df + 0.5)) tf (k1 + 1) / (tf + k1
    (1 - b + b length / mean length)). N and df are of the texts, lower-cased runs of word characters are words.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    asked = CountVectorizer(token_pattern=WORD)
    split, prepared = asked.build_tokenizer(), asked.build_preprocessor()
    wanted = [text or "" for text in queries.values]
    words = sorted({word for text in wanted for word in split(prepared(text))})
    if not words:
        return np.zeros((len(texts), 0), np.float32), np.zeros(len(texts), np.int64)
    known = CountVectorizer(token_pattern=WORD, vocabulary=words)
    said = [text or "" for text in texts.values]
    lengths = np.array([len(split(prepared(text))) for text in said], dtype=np.int64)
    counts = known.transform(said).astype(np.float64)
    there = max(1, int((lengths > 0).sum()))
    df = np.bincount(counts.indices, minlength=len(words))
    rarity = np.log1p((there - df + 0.5) / (df + 0.5))
    held = k1 * (1 - b + b * lengths / max(1.0, lengths.sum() / there))
    row = np.repeat(np.arange(len(said)), np.diff(counts.indptr))
    counts.data = counts.data * (k1 + 1) / (counts.data + held[row]) * rarity[counts.indices]
    return np.asarray((counts @ known.transform(wanted).astype(np.float64).T).todense(), dtype=np.float32), lengths
