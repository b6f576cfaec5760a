"""Language models by folder or hub name: what identifies one, and loading it."""

import hashlib
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from curate.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WEIGHT_FILES = ("*.safetensors", "*.safetensors.index.json", "config.json")
CODE_FILES = ("*.py",)  # a model's own code, which runs only in a run that trusts it
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json")


@dataclass(frozen=True)
class ModelSpec:
    """A causal language model as the user names it: a local folder, or `org/name[@revision]` on the hub."""

    name: str

    @property
    def label(self) -> str:
        """A short name for people."""
        return Path(self.name).name if Path(self.name).exists() else self.name

    def folder(self) -> Path:
        """The local folder of the model, fetched from the hub when it is not one already.

        Raises InputError when there is no such folder and the hub does not have it (or cannot be reached).
        """
        path = Path(self.name)
        if not path.exists():
            return _checked(_fetched(self.name))
        if not (path / "config.json").is_file():
            raise InputError(f"{self.name} is not a model folder: it has no config.json")
        return _checked(path.resolve())


@lru_cache(maxsize=64)
def _fetched(name: str) -> Path:
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise InputError(f"there is no model folder {name}")
    return fetch(name, [*WEIGHT_FILES, *CODE_FILES, *TOKENIZER_FILES, "*.json", "tokenizer.model"])


def fetch(name: str, patterns: Sequence[str], kind: str = "model") -> Path:
    """The files of `org/name[@revision]` on the hub that match, in a local folder; InputError when they are not to be had."""
    from huggingface_hub import snapshot_download

    repo, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repo, revision=revision or None, allow_patterns=list(patterns)))
    except Exception as error:  # the hub client raises many kinds; each means that the model is not to be had
        raise InputError(f"{kind} {name} is neither a folder nor to be had from the hub ({type(error).__name__})") from None


@lru_cache(maxsize=64)
def _checked(folder: Path) -> Path:
    """The folder, if no word of its tokenizer lies outside the model's embedding; read from the JSON files alone.

    Added tokens may (Gemma 3 has one for images): a row that has one is left out when it is tokenised.
    """
    rows, (highest, _) = vocabulary_size(folder), token_ids(folder)
    if rows is not None and highest >= rows:
        raise InputError(
            f"the tokenizer in {folder} has ids up to {highest}, but the model's embedding has only {rows} rows (vocab_size in "
            "config.json); take the tokenizer that the model was trained with"
        )
    return folder


def vocabulary_size(folder: Path) -> int | None:
    """Rows of the model's embedding as its config states them, if it does."""
    rows = read_config(folder).get("vocab_size")
    return rows if isinstance(rows, int) else None


@lru_cache(maxsize=64)
def token_ids(folder: Path) -> tuple[int, int]:
    """The highest ids of the tokenizer's words, and of those and its added tokens.

    -1 where the tokenizer is not of this kind or cannot be read, which loading it will say.
    """
    try:
        content = orjson.loads((folder / "tokenizer.json").read_bytes())
        vocabulary = content["model"]["vocab"]
        words = set(vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary)))
        added = {token["id"] for token in content.get("added_tokens") or ()}
        return max(words - added, default=-1), max(words | added, default=-1)
    except (OSError, ValueError, KeyError, TypeError):
        return -1, -1


def read_config(folder: Path) -> dict[str, Any]:
    """The language model's part of config.json. Raises InputError when it is not a JSON object."""
    file = folder / "config.json"
    try:
        config = orjson.loads(file.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}") from None
    if not isinstance(config, dict):
        raise InputError(f"{file} is not a JSON object")
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else config


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
    config = read_config(folder)
    length = config.get("max_position_embeddings") or config.get("n_positions")
    if length is not None and not isinstance(length, int):
        raise InputError(f"{folder / 'config.json'}: max_position_embeddings is {length!r}, not a whole number")
    return length or None


def without_weights(folder: Path, *, trust_remote_code: bool = False) -> "PreTrainedModel":
    """The model's modules on the meta device: its shape, of which no weight is read. InputError when it cannot be built."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    quiet()
    trust = {"trust_remote_code": trust_remote_code}
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder, local_files_only=True, **trust), **trust)
    except Exception as error:  # as of `load_model`
        raise InputError(f"the model in {folder} cannot be loaded: {_in_short(error)}") from error


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
        process = os.environ.get("LOCAL_RANK")  # torchrun gives each process of a machine a GPU of its own
        return "cuda" if process is None else f"cuda:{process}"
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


def load_model(
    folder: Path, *, device: str, dtype: str, trust_remote_code: bool = False, quantization: str = "none"
) -> "PreTrainedModel":
    """The model in eval mode on the device. Safetensors only: no pickle is read.

    quantization: 4bit holds its linear layers, but for the output head, as NF4 with quantised constants (QLoRA, arXiv
    2305.14314); they compute in `dtype`.
    Raises InputError when the folder does not hold a causal language model that can be loaded, or not all of its weights, and
    without bitsandbytes.
    """
    import torch
    from transformers import AutoModelForCausalLM

    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    quiet()
    if quantization == "4bit" and importlib.util.find_spec("bitsandbytes") is None:
        raise InputError("quantization: 4bit needs bitsandbytes; install it with: pip install 'curate[qlora]'")
    try:
        _check_index(folder)
        model, found = AutoModelForCausalLM.from_pretrained(
            folder,
            output_loading_info=True,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            local_files_only=True,
            **({"quantization_config": _in_4_bits(dtype), "device_map": {"": device}} if quantization == "4bit" else {}),
        )
    except Exception as error:  # transformers raises many kinds; each means that the folder is not a model that fits together
        if "ignore_mismatched_sizes" in str(error):
            raise InputError(
                f"the model in {folder} cannot be loaded: its weights have other sizes than config.json says"
            ) from error
        raise InputError(f"the model in {folder} cannot be loaded: {_in_short(error)}") from error
    if found["missing_keys"]:  # transformers would go on with random numbers in their place
        raise InputError(f"the model in {folder} cannot be loaded: its weights lack {min(found['missing_keys'])}")
    if quantization == "none":
        return model.to(device).eval()
    for module in model.modules():
        # On some CPUs bitsandbytes repacks the weights at the first forward pass, for a faster kernel in bfloat16; they can then
        # neither be turned into plain ones nor do they compute in `dtype`.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model.eval()


def _check_index(folder: Path) -> None:
    """Raises ValueError where the index of the weights names files of another kind, which transformers would unpickle."""
    for index in folder.glob("*.safetensors.index.json"):
        for name in orjson.loads(index.read_bytes())["weight_map"].values():
            if Path(name).name != name or not name.endswith(".safetensors"):
                raise ValueError(f"{index.name} names {name}, which is not a safetensors file beside it")


def _in_4_bits(dtype: str) -> Any:
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> "PreTrainedTokenizerBase":
    """The model's fast tokenizer; InputError when there is none."""
    from transformers import PreTrainedTokenizerFast

    if not any(file for pattern in ("tokenizer.*", "vocab.*", "*.model", "*.tiktoken") for file in folder.glob(pattern)):
        raise InputError(f"the tokenizer in {folder} cannot be loaded: there is none, such as tokenizer.json")

    quiet()
    try:
        if _plain_tokenizer(folder):
            tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        else:
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)
    except Exception as error:
        raise InputError(f"the tokenizer in {folder} cannot be loaded: {_in_short(error)}") from error
    if not tokenizer.is_fast:
        raise InputError(f"the tokenizer in {folder} has no fast version, which finding replies by offset needs")
    return tokenizer


def _plain_tokenizer(folder: Path) -> bool:
    """Whether AutoTokenizer would take the plain class for it, which loads without torch.

    Only what is sure is answered with yes: for several kinds of model transformers overrules what the files say.
    """
    try:
        config = orjson.loads((folder / "tokenizer_config.json").read_bytes())
        named = config.get("tokenizer_class"), read_config(folder).get("model_type")
        return named == ("TokenizersBackend", "llama") and "auto_map" not in config and (folder / "tokenizer.json").is_file()
    except (OSError, ValueError, AttributeError):
        return False


def _in_short(error: Exception) -> str:
    """The error's first line, or all of it on one line where the first announces the others."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    text = " ".join(str(error).split()) if lines[0].rstrip().endswith(":") else lines[0]
    return text if len(text) <= 300 else text[:297] + "..."


def quiet() -> None:
    """transformers keeps its remarks and progress bars to itself."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
