"""The models of a run: what identifies them, how much of a conversation they read, and the one that is in memory."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import InputError
from curate.lm.encode import ENCODE_VERSION
from curate.lm.models import (
    CODE_FILES,
    TOKENIZER_FILES,
    WEIGHT_FILES,
    ModelSpec,
    context_length,
    hash_files,
    load_model,
    load_tokenizer,
    resolve_device,
    resolve_dtype,
    without_weights,
)
from curate.lm.weights import WEIGHT_VERSION
from curate.store import Store
from curate.training.config import TrainConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DEFAULT_MAX_LENGTH = 2048


@dataclass
class Models:
    """One model in memory at a time, every tokenizer kept, every file hashed once.

    trust_remote_code  whether models whose folder brings code of its own may run it.
    """

    store: Store = field(default_factory=Store)
    device: str = "auto"
    dtype: str = "auto"
    max_length: int | None = None
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        self._tokenizers: dict[ModelSpec, PreTrainedTokenizerBase] = {}
        self._loaded: tuple[Hashable, Any] | None = None
        self._hashes = self.store.hash_cache()

    def weights_hash(self, model: ModelSpec) -> str:
        """The fingerprint of a model's weights and config, and of its own code where that may run."""
        return self.files_hash(model.folder(), WEIGHT_FILES + (CODE_FILES if self.trust_remote_code else ()))

    def encoding_spec(self, model: ModelSpec) -> dict[str, Any]:
        """What token ids depend on: the address of a row-wise artifact."""
        return {
            "kind": "encoding",
            "version": ENCODE_VERSION,
            "tokenizer": self.files_hash(model.folder(), TOKENIZER_FILES),
            "max_length": self.length_limit(model),
        }

    def weight_spec(self, model: ModelSpec) -> dict[str, Any]:
        """What token weights depend on beside the token ids."""
        return {"kind": "weights", "version": WEIGHT_VERSION, "encoding": self.encoding_spec(model)}

    def files_hash(self, folder: Path, patterns: tuple[str, ...]) -> str:
        """The fingerprint of the files in a folder that match; each file is read once for all runs on a store."""
        before = len(self._hashes)
        found = hash_files(folder, patterns, self._hashes)
        if len(self._hashes) > before:
            self.store.save_hash_cache(self._hashes)
        return found

    def length_limit(self, model: ModelSpec) -> int:
        """Tokens a conversation is cut to: the limit asked for, else the model's context up to 2,048."""
        context = context_length(model.folder())
        if self.max_length is None:
            return min(context or DEFAULT_MAX_LENGTH, DEFAULT_MAX_LENGTH)
        if context and self.max_length > context:
            raise InputError(f"--max-length {self.max_length} exceeds the context of {model.label}, {context} tokens")
        return self.max_length

    def pair_limit(self, model: ModelSpec) -> int:
        """Tokens that a row and its example have together: twice a conversation's limit, within the model's context."""
        double = 2 * self.length_limit(model)
        return min(context_length(model.folder()) or double, double)

    def tokenizer(self, model: ModelSpec) -> "PreTrainedTokenizerBase":
        if model not in self._tokenizers:
            self._tokenizers[model] = load_tokenizer(model.folder(), trust_remote_code=self.trust_remote_code)
        return self._tokenizers[model]

    @property
    def pass_dtype(self) -> str:
        """Of forward passes, resolved for the device."""
        return resolve_dtype(self.dtype, resolve_device(self.device))

    def load_for_pass(self, key: str, folder: Path) -> "PreTrainedModel":
        """The model in a folder for forward passes, kept under `key` until another is asked for."""
        device, trust = resolve_device(self.device), self.trust_remote_code
        load = partial(load_model, folder, device=device, dtype=self.pass_dtype, trust_remote_code=trust)
        network: PreTrainedModel = self.holding(key, load)
        return network

    def holding(self, key: Hashable, load: Callable[[], Any]) -> Any:
        """What was loaded under a key, kept until something else is: one model in memory at a time."""
        if self._loaded is None or self._loaded[0] != key:
            self.unload()
            self._loaded = key, load()
        return self._loaded[1]

    def load_plain(self, model: ModelSpec, folder: Path | None = None) -> "PreTrainedModel":
        """A fresh copy in float32, as models are evaluated. folder: as for `load_for_training`."""
        return self.load_for_training(model, None, folder)

    def without_weights(self, model: ModelSpec) -> "PreTrainedModel":
        """The model's modules, of which no weight is read."""
        return without_weights(model.folder(), trust_remote_code=self.trust_remote_code)

    def load_for_training(self, model: ModelSpec, recipe: TrainConfig | None, folder: Path | None = None) -> "PreTrainedModel":
        """A fresh copy in float32, or in 4 bits where the recipe says so, the caller's to change.

        folder  of other weights for the model, such as those of a fit.
        """
        self.unload()
        recipe = recipe or TrainConfig()
        quantized = recipe.quantization != "none"
        return load_model(
            folder or model.folder(),
            device=resolve_device(self.device),
            dtype=recipe.dtype if quantized else "float32",
            trust_remote_code=self.trust_remote_code,
            quantization=recipe.quantization,
        )

    def unload(self) -> None:
        self._loaded = None
