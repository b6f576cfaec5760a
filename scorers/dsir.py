"""DSIR: rows drawn so that their words come as often as in a target."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from curate.errors import InputError
from curate.lm.views import CONVERSATION, INSTRUCTION, RESPONSE
from curate.method import Cost, Data, Method
from curate.requests import Request, Texts
from curate.selectors.picks import Picks, prefix, shortfall
from curate.selectors.weighted import weighted_order
from curate.signals import RowScore, RowValues
from scorers.aimed import target_of

if TYPE_CHECKING:
    import polars as pl
    from scipy.sparse import csr_matrix

    from curate.budget import Limit

WORDS = re.compile(r"\w+|[^\w\s]+")  # NLTK's wordpunct
SMALL = 1e-8  # added to frequencies, as in the authors' code


class DSIR(Method):
    """Draw rows by importance: those whose words and pairs of words are commoner in target examples than in the pool.

    Score: the logarithm of the importance weight, sum over hashed words and pairs of count x (log p_target - log p_pool). Rows
    are drawn without replacement in proportion to the weight. No model reads anything. Source: arXiv 2302.03169.
    """

    name: ClassVar[str] = "dsir"
    paper: ClassVar[str] = "2302.03169"
    cost: ClassVar[Cost] = "tokenizer"
    by_chance: ClassVar[bool] = True

    buckets: int = Field(10_000, ge=1, le=1 << 20, description="that words and pairs are hashed to")
    ngrams: int = Field(2, ge=1, le=5, description="words in a row, at most, that are a feature")
    parts: Literal["joint", "separate"] = Field("joint", description="separate: instruction and reply have features of their own")
    length: Literal["sum", "mean"] = Field(
        "sum", description="mean: per feature, so that long rows have no extreme weights; the paper has the sum"
    )
    temperature: float = Field(1.0, gt=0, description="that the logarithm of a weight is divided by before rows are drawn")

    def _views(self) -> tuple[str, ...]:
        return (CONVERSATION,) if self.parts == "joint" else (INSTRUCTION, RESPONSE)

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """The texts of the pool and of the target."""
        return [Texts(rows, view) for rows in (data.pool, target_of(self, data)) for view in self._views()]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> RowScore:
        """Logarithms of importance weights [n]."""
        pool, target = ([seen[Texts(rows, view)] for view in self._views()] for rows in (data.pool, target_of(self, data)))
        total, features = np.zeros(data.pool.size), np.zeros(data.pool.size)
        reason = np.full(data.pool.size, None, dtype=object)
        for texts, wanted in zip(pool, target, strict=True):
            counts, aims = (hashed(rows, self.buckets, self.ngrams) for rows in (texts, wanted))
            if not aims.nnz:
                raise InputError(f"{self.name}: no text of the target has a word")
            total += counts @ log_ratio(counts, aims)
            features += np.asarray(counts.sum(axis=1)).ravel()
            reason = np.where(reason == None, texts.reasons, reason)  # noqa: E711 (elementwise)
        if len(pool) == 1:
            reason = np.where((reason == None) & (features == 0), "no word in it", reason)  # noqa: E711
        scaled = total if self.length == "sum" else total / np.maximum(features, 1)
        return RowScore(np.where(reason == None, scaled, np.nan), reason)  # noqa: E711

    def choose(self, signal: RowScore, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> Picks:
        """Rows drawn by weight, without replacement; `gain` is the logarithm of the weight."""
        there = np.flatnonzero(~signal.is_null)
        order = there[weighted_order(signal.values[there] / self.temperature, rng)]
        picked = prefix(order, limit)
        gain = signal.values[picked]
        reasons = [f"drawn with log weight {value:.4g}" for value in gain.tolist()]
        return Picks(picked, gain, [None] * len(picked), reasons, int(signal.is_null.sum()), shortfall(picked, order, limit))


def log_ratio(pool: "csr_matrix", target: "csr_matrix") -> np.ndarray:
    """float64 [buckets]: log frequency in the target's counts less that in the pool's."""
    aimed, raw = (np.asarray(counts.sum(axis=0), dtype=np.float64).ravel() for counts in (target, pool))
    found: np.ndarray = np.log(aimed / aimed.sum() + SMALL) - np.log(raw / max(1.0, raw.sum()) + SMALL)
    return found


def hashed(texts: RowValues, buckets: int, ngrams: int) -> "csr_matrix":
    """int32 [n, buckets]: how often each text has words and runs of words of each bucket; rows of zeros for nulls."""
    from scipy.sparse import csr_matrix

    ends, columns = [0], []
    for text in texts.values:
        columns.append(np.fromiter((bucket(run) % buckets for run in runs(text or "", ngrams)), dtype=np.int64))
        ends.append(ends[-1] + len(columns[-1]))
    flat = np.concatenate([np.empty(0, np.int64), *columns])
    found = csr_matrix((np.ones(len(flat), np.int32), flat, ends), shape=(len(texts), buckets))
    found.sum_duplicates()
    return found


def runs(text: str, ngrams: int) -> Iterable[str]:
    """Lower-cased words, then pairs, and so on."""
    words = WORDS.findall(text.lower())
    for size in range(1, ngrams + 1):
        yield from (" ".join(words[i : i + size]) for i in range(len(words) - size + 1))


@lru_cache(maxsize=1 << 20)
def bucket(run: str) -> int:
    """A hash that is the same everywhere: the authors' SHA-256."""
    return int(hashlib.sha256(run.encode("utf-8", "surrogatepass")).hexdigest(), 16)
