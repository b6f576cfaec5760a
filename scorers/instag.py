"""InsTag's sampling: rows with many tags, each pass covering every tag there is."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from curate.embedding.tfidf import WORD
from curate.errors import InputError
from curate.lm.views import INSTRUCTION
from curate.method import Cost, Data, Method
from curate.quality import COLUMN
from curate.requests import Column, Embed, Request, Texts
from curate.selectors.set_cover import set_cover
from curate.signals import RowScore
from scorers.clustered import clustered

if TYPE_CHECKING:
    import polars as pl

    from curate.budget import Limit
    from curate.selectors.picks import Picks

WORDS, CLUSTERS = "words", "clusters"
COMMON = 0.05  # share of the rows from which on a word tells nothing of what a row is about


@dataclass(frozen=True)
class Tagged:
    """The tags of each row, [n], and why it has none (object [n]), else None."""

    tags: list[frozenset[str]]
    reasons: np.ndarray

    def __len__(self) -> int:
        return len(self.tags)


class InsTag(Method):
    """Keep rows of many tags such that every pass over the pool covers each tag that is left.

    Score: the number of the row's tags. The paper's come from a tagger of its own; here they are words of the instruction,
    clusters or a column of yours. Source: arXiv 2308.07074.
    """

    name: ClassVar[str] = "instag"
    paper: ClassVar[str] = "2308.07074"
    cost: ClassVar[Cost] = "tokenizer"

    tags: str = Field(WORDS, description=f"{WORDS} of the instruction, {CLUSTERS} of embeddings, or {COLUMN}NAME of yours")
    min_rows: int = Field(5, ge=1, description="a tag of fewer rows does not count")

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.tags not in (WORDS, CLUSTERS) and not self.tags.startswith(COLUMN):
            raise ValueError(f"tags must be {WORDS}, {CLUSTERS} or {COLUMN}NAME, not {self.tags}")
        return self

    def _asked(self, data: Data) -> Request:
        if self.tags == CLUSTERS:
            return Embed(data.embedder, data.pool)
        if self.tags == WORDS:
            return Texts(data.pool, INSTRUCTION)
        return Column(data.pool, self.tags.removeprefix(COLUMN))

    def requests(self, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
        """What the tags are made of: texts, vectors or a column."""
        return [self._asked(data)]

    def signal(self, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> Tagged:
        """The tags of each row; a row without any is null."""
        given = seen[self._asked(data)]
        if self.tags == CLUSTERS:
            return _by_clusters(given, rng)
        least, most = (self.min_rows, COMMON * len(given)) if self.tags == WORDS else (self.min_rows, math.inf)
        found = [_words(text) for text in given.values] if self.tags == WORDS else [_listed(self.tags, v) for v in given.values]
        count = Counter(tag for tags in found for tag in tags)
        kept = {tag for tag, rows in count.items() if least <= rows <= max(most, least)}
        if not kept and count:
            kept = set(count)  # a pool too small for any tag to be common enough, or rare enough
        tags = [frozenset(some & kept) for some in found]
        why = [given.reasons[i] or (None if some else "it has no tag that counts") for i, some in enumerate(tags)]
        return Tagged(tags, np.array(why, dtype=object))

    def score(self, signal: Tagged) -> RowScore:
        """How many tags a row has [n]."""
        numbers = np.array([len(tags) for tags in signal.tags], dtype=np.float64)
        return RowScore(np.where(signal.reasons == None, numbers, np.nan), signal.reasons)  # noqa: E711 (elementwise)

    def order(self) -> str:
        """By passes."""
        return "pass after pass, most tags first"

    def choose(self, signal: Tagged, table: "pl.DataFrame", limit: "Limit", rng: np.random.Generator) -> "Picks":
        """Pass after pass, each pick with a tag that its pass had not; `gain` is how many, `stratum` the pass."""
        return set_cover(signal.tags, limit)


def _words(text: str | None) -> set[str]:
    return set(re.findall(WORD, (text or "").lower()))


def _listed(name: str, value: Any) -> set[str]:
    """A column's tags: a list, or text with commas. Lower-cased."""
    if value is None:
        return set()
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list):
        raise InputError(f"instag: tags are a list or text with commas, and the {name} holds {str(value)[:40]!r}")
    return {str(tag).strip().lower() for tag in value} - {"", "none"}


def _by_clusters(vectors: Any, rng: np.random.Generator) -> Tagged:
    """Two tags for each row: its cluster among few and among many."""
    found: list[set[str]] = [set() for _ in range(len(vectors))]
    rows = int((~vectors.is_null).sum())
    for k in (max(1, round(rows ** (1 / 3))), max(1, math.isqrt(rows))):
        parts = clustered(vectors, k, rng)
        for i, cluster in zip(parts.rows.tolist(), parts.clusters.tolist(), strict=True):
            found[i].add(f"cluster {cluster} of {k}")
    return Tagged([frozenset(tags) for tags in found], parts.reasons)
