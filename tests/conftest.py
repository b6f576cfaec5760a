"""One thread, no network and a store of their own for all tests; two small models and a small pool."""

import os
import tempfile

# Before anything imports torch, which reads them once.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ["HF_HUB_OFFLINE"] = "1"
_store = tempfile.TemporaryDirectory(prefix="curate-tests-")
os.environ["CURATE_STORE"] = _store.name

import json  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import pytest  # noqa: E402

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def base4m() -> Path:
    """The folder of the embedded model."""
    return ROOT / "data" / "models" / "base-4m"


@pytest.fixture(scope="session")
def base28m() -> Path:
    """The folder of the embedded model's larger sibling, which is not part of the project."""
    folder = Path(os.environ.get("CURATE_MODELS", ROOT.parent / "shared" / "models")) / "base-28m"
    if not folder.is_dir():
        pytest.skip(f"there is no model {folder}; CURATE_MODELS names another folder")
    return folder


@pytest.fixture(scope="session")
def tiny(base4m: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random Llama of two layers that has the embedded model's tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "tiny"
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=8192, max_position_embeddings=256, initializer_range=0.2, tie_word_embeddings=True, **sizes)
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(base4m).save_pretrained(folder)
    return folder


def conversation(number: int) -> dict[str, Any]:
    """A short conversation of its own for each number, replies of one to four sentences."""
    question = f"What is {number} plus {number % 7}?"
    answer = " ".join([f"It is {number + number % 7}."] * (1 + number % 4))
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


@pytest.fixture
def make_pool(tmp_path: Path) -> Callable[..., Path]:
    """Writes conversations by number as JSONL: `source`, and a `planted` defect in every fifth."""

    def make(numbers: range | list[int], name: str = "pool.jsonl", **columns: Callable[[int], Any]) -> Path:
        columns = {"source": lambda i: f"s{i % 3}", "planted": lambda i: "wrong" if i % 5 == 0 else None, **columns}
        rows = [{**conversation(i), **{key: value(i) for key, value in columns.items()}} for i in numbers]
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return make


@pytest.fixture
def small_pool(make_pool: Callable[..., Path]) -> Path:
    """24 conversations from three sources."""
    return make_pool(range(24))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real instruction sets, which are not part of the project."""
    folder = Path(os.environ.get("CURATE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"there is no folder {folder} of real data; CURATE_DATA names another")
    return folder
