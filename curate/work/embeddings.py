"""Embeddings of texts: by a sentence encoder, or by words that are learned first."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from curate.embedding.record import EMBED_VERSION, Encode, record
from curate.embedding.sentence import ENCODER_FILES, SentenceModel, encoder_folder
from curate.embedding.tfidf import TfidfModel
from curate.fitting import Fitting
from curate.lm.models import resolve_device
from curate.passes import Done
from curate.plan import embed_name, vocabulary
from curate.requests import Embed, SentenceEncoder
from curate.signals import RowVector, as_vectors
from curate.store import RowArtifact
from curate.work.base import RowWork, kept_values


class Embedding(RowWork):
    """A vector for the text of each row, of a resolved request (hidden states are an observable of a pass)."""

    kind = "embed"
    unit = "rows"

    def __init__(self, engine: Fitting, asked: Embed) -> None:
        super().__init__(engine, asked.rows, None)
        self.asked, self.words = asked, vocabulary(asked)

    def name(self, missing: int = 0) -> str:
        return embed_name(self.asked, missing)

    @property
    def waits(self) -> bool:
        """Whether the words are still to be learned."""
        return self.words is not None and self.engine.kept(self.words) is None

    def artifacts(self) -> dict[str, RowArtifact]:
        if self.words is not None:
            model = self.engine.serving(self.words)[0].name
        else:
            assert isinstance(self.asked.embedder, SentenceEncoder)
            model = self.engine.files_hash(encoder_folder(self.asked.embedder.name), ENCODER_FILES)
        spec = {"kind": "embedding", "version": EMBED_VERSION, "model": model, "view": self.asked.view}
        return {"vector": self.engine.store.rows(spec, pa.list_(pa.float32()))}

    def tokens(self, positions: np.ndarray) -> int:
        """Not known beforehand."""
        return 0

    def compute(self, missing: np.ndarray, advance: Callable[[int], None]) -> Done:
        encode = self.encoder()
        record(encode, self.engine.pool_of(self.asked.rows), self.asked.view, missing, self.artifacts()["vector"], advance)
        return Done()

    def encoder(self) -> Encode:
        """What embeds texts; the words and weights of TF-IDF are learned here when none serve."""
        if self.words is not None:
            if self.waits:
                self.engine.learn(self.words)
            return TfidfModel.load(self.engine.serving(self.words)[0]).encode
        assert isinstance(self.asked.embedder, SentenceEncoder)
        self.engine.unload()
        return SentenceModel(self.asked.embedder.name, resolve_device(self.engine.device)).encode

    def answer(self) -> RowVector:
        values, there, reasons = kept_values(self.artifacts()["vector"], self.engine.ids(self.rows), {})
        return as_vectors(values, there, reasons)

    def cost(self) -> tuple[float, float]:
        """With what learning the words took; readers of texts have no FLOPs to speak of."""
        learned = self.engine.account(self.words)["seconds"] if self.words is not None else 0.0
        return super().cost()[0] + learned, 0.0
