"""Embeddings by a sentence-transformers model: float32, as the model gives them, no code or pickle of its repository."""

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from curate.errors import CurateError, InputError
from curate.lm.batching import batches_by_length
from curate.lm.models import fetch, quiet

_SUFFIXES = ("safetensors", "json", "txt", "model")
ENCODER_FILES = tuple(f"**/*.{suffix}" for suffix in _SUFFIXES)  # all that a vector depends on
BATCH_CHARACTERS = 2**16

NOT_FINITE = "the embedder gave a number that is not finite"


@lru_cache(maxsize=16)
def encoder_folder(name: str) -> Path:
    """The local folder of a model, fetched from the hub when it is not one already.

    Raises InputError when the package is missing, the model is not to be had, or its weights are pickled.
    """
    if find_spec("sentence_transformers") is None:
        raise InputError(f"the embedder {name} needs the package sentence-transformers: pip install 'curate[embed]'")
    folder = Path(name).resolve() if Path(name).exists() else fetch(name, [f"*.{suffix}" for suffix in _SUFFIXES], "embedder")
    if not any((folder / file).is_file() for file in ("modules.json", "config.json")):
        raise InputError(f"the embedder {name} is not a sentence-transformers model: it has neither modules.json nor config.json")
    for pickled in sorted(folder.rglob("pytorch_model.bin")):
        if not any(pickled.parent.glob("*.safetensors")):
            raise InputError(f"the embedder {name} has pickled weights, {pickled}; only safetensors are read")
    return folder


class SentenceModel:
    """A model in memory. Raises InputError when it cannot be loaded."""

    def __init__(self, name: str, device: str) -> None:
        import torch
        from safetensors import SafetensorError
        from sentence_transformers import SentenceTransformer

        quiet()
        self.name = name
        try:
            self.model = SentenceTransformer(
                str(encoder_folder(name)),
                device=device,
                trust_remote_code=False,
                local_files_only=True,
                model_kwargs={"dtype": torch.float32, "use_safetensors": True},
            ).float()
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError, SafetensorError) as error:
            raise InputError(f"the embedder {name} cannot be loaded: {str(error).strip().splitlines()[0]}") from error

    def encode(self, texts: Sequence[str]) -> list[np.ndarray | str]:
        """For each text float32 [d], or why there is none. What exceeds the model's own length is not read by it."""
        found: list[np.ndarray | str] = [""] * len(texts)
        for batch in batches_by_length(np.array([len(text) for text in texts], dtype=np.int64), BATCH_CHARACTERS):
            for position, vector in zip(batch.tolist(), self._vectors([texts[i] for i in batch]), strict=True):
                found[position] = vector if np.isfinite(vector).all() else NOT_FINITE
        return found

    def _vectors(self, texts: Sequence[str]) -> np.ndarray:
        import torch

        try:
            return self.model.encode(list(texts), batch_size=len(texts), show_progress_bar=False, convert_to_numpy=True)
        except torch.OutOfMemoryError:
            if len(texts) == 1:
                raise CurateError(
                    f"the embedder {self.name} runs out of memory on one text, {len(texts[0]):,} characters"
                ) from None
        half = len(texts) // 2
        return np.concatenate([self._vectors(texts[:half]), self._vectors(texts[half:])])
