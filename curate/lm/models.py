"""Language models by folder or hub name: what identifies one, and loading it."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WEIGHT_FILES = ("*.safetensors", "*.safetensors.index.json", "config.json")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json")


@dataclass(frozen=True)
class ModelSpec:
    """A causal language model as the user names it: a local folder, or `org/name[@revision]` on the hub."""

    name: str
    trust_remote_code: bool = False

    @property
    def label(self) -> str:
        """A short name for people."""
        return Path(self.name).name if Path(self.name).exists() else self.name

    def folder(self) -> Path:
        """The local folder of the model, fetched from the hub when it is not one already.

        Raises InputError when there is no such folder and the hub does not have it (or cannot be reached).
        """
        return _resolve(self.name)


@lru_cache(maxsize=64)
def _resolve(name: str) -> Path:
    path = Path(name)
    if path.exists():
        if not (path / "config.json").is_file():
            raise InputError(f"{name} is not a model folder: it has no config.json")
        return path.resolve()
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise InputError(f"there is no model folder {name}")
    return fetch(name, [*WEIGHT_FILES, *TOKENIZER_FILES, "*.json", "tokenizer.model"])


def fetch(name: str, patterns: Sequence[str], kind: str = "model") -> Path:
    """The files of `org/name[@revision]` on the hub that match, in a local folder; InputError when they are not to be had."""
    from huggingface_hub import snapshot_download

    repo, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repo, revision=revision or None, allow_patterns=list(patterns)))
    except Exception as error:  # the hub client raises many kinds; each means that the model is not to be had
        raise InputError(f"{kind} {name} is neither a folder nor to be had from the hub ({type(error).__name__})") from None


def hash_files(folder: Path, patterns: tuple[str, ...], cache: dict[str, str] | None = None) -> str:
    """SHA-256 (32 hex) over the names and contents of the files that match.

    `cache` maps "path|size|mtime" to a content hash, so that 15 GB of weights are read once.
    """
    total = hashlib.sha256()
    for file in sorted({file for pattern in patterns for file in folder.glob(pattern)}):
        total.update(file.name.encode())
        total.update(_hash_file(file, cache).encode())
    return total.hexdigest()[:32]


def _hash_file(file: Path, cache: dict[str, str] | None) -> str:
    stat = file.stat()
    key = f"{file.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
    if cache is not None and key in cache:
        return cache[key]
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if cache is not None:
        cache[key] = digest
    return digest


def context_length(folder: Path) -> int | None:
    """The longest context in tokens that the model's config states, if it states one."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    config = config.get("text_config", config)
    length = config.get("max_position_embeddings") or config.get("n_positions")
    return int(length) if length else None


def parameter_count(folder: Path) -> int:
    """Number of parameters, read from the headers of the safetensors files (nothing is loaded)."""
    from safetensors import safe_open

    total = 0
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(str(file), framework="numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (not a mapping)
                size = 1
                for side in tensors.get_slice(name).get_shape():
                    size *= side
                total += size
    return total


def forward_flops(model: ModelSpec, tokens: int) -> float:
    """Floating-point operations of a forward pass: 2 per parameter and token (arXiv 2001.08361, 2.1)."""
    return 2.0 * parameter_count(model.folder()) * tokens


def resolve_device(device: str = "auto") -> str:
    """`auto` is cuda, then mps, then cpu. InputError for a device that this machine does not have."""
    import torch

    if device != "auto":
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            raise InputError(f"device {device!r} cannot be used here: {str(error).splitlines()[0]}") from None
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def resolve_dtype(dtype: str, device: str) -> str:
    """`auto` is float32 on the CPU and bfloat16 on a GPU."""
    names = {"float32": "float32", "fp32": "float32", "bfloat16": "bfloat16", "bf16": "bfloat16", "fp16": "float16"}
    names["float16"] = "float16"
    if dtype == "auto":
        return "bfloat16" if device.startswith("cuda") else "float32"
    if dtype not in names:
        raise InputError(f"dtype {dtype!r} is not one of auto, float32, bfloat16, float16")
    return names[dtype]


def load_model(folder: Path, *, device: str, dtype: str, trust_remote_code: bool = False) -> "PreTrainedModel":
    """The model in eval mode on the device. Safetensors only: no pickle is read.

    Raises InputError when the folder does not hold a causal language model that can be loaded.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    quiet()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            local_files_only=True,
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(f"the model in {folder} cannot be loaded: {str(error).splitlines()[0]}") from error
    return model.to(device).eval()


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> "PreTrainedTokenizerBase":
    """The model's fast tokenizer; InputError when there is none."""
    from transformers import AutoTokenizer

    quiet()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"the tokenizer in {folder} cannot be loaded: {str(error).splitlines()[0]}") from error
    if not tokenizer.is_fast:
        raise InputError(f"the tokenizer in {folder} has no fast version, which finding replies by offset needs")
    return tokenizer


def quiet() -> None:
    """transformers keeps its remarks and progress bars to itself."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
