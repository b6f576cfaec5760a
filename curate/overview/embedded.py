"""Some rows of a pool as vectors: those drawn from the whole of it, and those drawn from what each method picked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from curate.embedding.texts import text_of
from curate.embedding.tfidf import SEED, vectorizer
from curate.overview.picked import Picked, choosing
from curate.preparation import Prepared
from curate.requests import Embed
from curate.selectors.kmeans import kmeans

POOL_ROWS = 2_000  # drawn from the pool
KEPT_ROWS = 1_000  # drawn from each method's picks, among which nearest neighbours are looked for
MAPPED = 200  # of these that are put on a map
DIMENSIONS = 50  # of TF-IDF, that clusters are found in
CLUSTERS, LEAST = 10, 25  # clusters at most; rows of the sample for each at least
WORDS = 3  # that a cluster is named by
SHOWN = 90  # characters of a row on a map


@dataclass(frozen=True)
class Embedded:
    """rows: int64 [m], positions in the pool, ascending. vectors: float32 [m, d] of length 1, or 0 where a row has none.
    words: float [m, W], their TF-IDF weights, sparse. named: the words of its columns. how: what the vectors are, for people.
    pool: positions drawn from the whole pool; kept: by method, from its picks; both ascending.
    """

    rows: np.ndarray
    vectors: np.ndarray
    words: Any
    named: np.ndarray
    how: str
    pool: np.ndarray
    kept: Mapping[str, np.ndarray]

    def at(self, positions: np.ndarray) -> np.ndarray:
        """int64: where positions of the pool stand in `rows`, all of which are there."""
        return np.searchsorted(self.rows, positions)

    @cached_property
    def plane(self) -> np.ndarray:
        """int64 [m, 2]: the vectors on their two leading principal directions, from 0 to 1,000 between the outermost rows."""
        centred = self.vectors - self.vectors[self.at(self.pool)].mean(0)
        _, _, directions = np.linalg.svd(centred, full_matrices=False)
        flat = np.zeros((len(centred), 2))
        flat[:, : len(directions[:2])] = centred @ directions[:2].T
        low, high = flat.min(0), flat.max(0)
        scaled: np.ndarray = np.round(1000 * (flat - low) / np.where(high > low, high - low, 1)).astype(np.int64)
        return scaled

    def nearest(self, position: int, method: str) -> tuple[int, float] | None:
        """The row most like one, by cosine, among those drawn from a method's picks: its position and how like it is, or None."""
        others = self.kept[method][self.kept[method] != position]
        if not len(others):
            return None
        likeness = self.vectors[self.at(others)] @ self.vectors[self.at(np.array([position]))[0]]
        best = int(np.argmax(likeness))
        return int(others[best]), float(likeness[best])


def embed_some(prepared: Prepared, picked: Sequence[Picked], rng: np.random.Generator) -> Embedded:
    """Draw the rows, and take their vectors from what a method asked for, where one embeds conversations, else make them of
    their words."""
    from sklearn.decomposition import TruncatedSVD

    draw = lambda index, most: np.sort(rng.permutation(index)[:most])  # noqa: E731
    pool = draw(np.arange(len(prepared.pool)), POOL_ROWS)
    kept = {name: draw(index, KEPT_ROWS) for name, index in choosing(picked).items()}
    rows = np.unique(np.concatenate([pool, *kept.values(), *(_first_and_last(one) for one in picked)]))
    texts = [text_of(messages) for messages, _ in prepared.pool.conversations(rows)]
    counter = vectorizer()
    if any(map(counter.build_tokenizer(), texts)):
        words = counter.fit_transform(texts)
        named = counter.get_feature_names_out()
    else:
        words, named = np.zeros((len(texts), 1)), np.array([""])
    vectors, how = _asked_for(prepared, picked, rows)
    if vectors is None:
        width = min(DIMENSIONS, min(words.shape) - 1)
        vectors = TruncatedSVD(width, random_state=SEED).fit_transform(words) if width > 0 else np.zeros((len(rows), 1))
        how = f"TF-IDF of the conversations in {max(1, width)} dimensions"
    vectors = np.nan_to_num(np.asarray(vectors, np.float32))
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return Embedded(rows, vectors / np.where(length > 0, length, 1), words, named, how, pool, kept)


def _asked_for(prepared: Prepared, picked: Sequence[Picked], rows: np.ndarray) -> tuple[np.ndarray | None, str]:
    for one in picked:
        for request in one.seen.asked.get(one.name, {}):
            if isinstance(request, Embed) and request.rows == prepared.data.pool:
                found = one.seen[request].values
                if found.shape[1]:
                    return found[rows], f"embeddings by {request.embedder.label}, which {one.name} compares rows by"
    return None, ""


def _first_and_last(one: Picked) -> np.ndarray:
    """The rows that a method likes best and least, and one that it has no score for: examples are taken from these."""
    there = np.flatnonzero(np.isfinite(one.preference))
    order = there[np.argsort(-one.preference[there], kind="stable")]
    left = order[~np.isin(order, one.index)]
    null = np.flatnonzero(~np.isfinite(one.preference))
    return np.concatenate([one.index[:8], left[:8], left[-8:], null[:1]]).astype(np.int64)


def mapped(some: Embedded, texts: Mapping[int, str], rng: np.random.Generator) -> dict[str, Any]:
    """A map of the pool: how it was made; pool [[x, y], ...]; kept: by method [[x, y, text], ...], from 0 to 1,000.

    texts: what a row is called on the map, by its position.
    """
    kept = {}
    for name, positions in some.kept.items():
        drawn = np.sort(rng.permutation(positions)[:MAPPED])
        kept[name] = [[*some.plane[i].tolist(), texts[p]] for i, p in zip(some.at(drawn), drawn.tolist(), strict=True)]
    return {"how": some.how, "pool": some.plane[some.at(some.pool)].tolist(), "kept": kept}


def clusters(some: Embedded, rng: np.random.Generator) -> dict[str, Any]:
    """Groups of like rows, named by the words that set them apart: names [c], the largest first; pool [c] and kept [c] by method,
    shares of the rows drawn. Empty where there are too few rows for two groups."""
    k = min(CLUSTERS, len(some.pool) // LEAST)
    if k < 2:
        return {"names": [], "pool": [], "kept": {}}
    of = kmeans(some.vectors, k, rng, starts=3, iterations=20)
    drawn = of[some.at(some.pool)]
    order = [c for c in np.argsort(-np.bincount(drawn, minlength=k), kind="stable") if (drawn == c).any()]
    mean = np.asarray(some.words.mean(0)).ravel()
    names = []
    for c in order:
        apart = np.asarray(some.words[of == c].mean(0)).ravel() - mean
        names.append(", ".join(str(some.named[i]) for i in np.argsort(-apart, kind="stable")[:WORDS]))

    def share(index: np.ndarray) -> list[float]:
        there = of[some.at(index)]
        return [float((there == c).mean()) if len(there) else 0.0 for c in order]

    return {"names": names, "pool": share(some.pool), "kept": {name: share(index) for name, index in some.kept.items()}}
