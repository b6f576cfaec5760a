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
from hypothesis import settings  # noqa: E402

# The same examples in every run, so that a run fails for what was changed; HYPOTHESIS_PROFILE=search draws new ones.
settings.register_profile("same", derandomize=True)
settings.register_profile("search", derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

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


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sentence-transformers model made of a random BERT, of 16 dimensions."""
    sentence_transformers = pytest.importorskip("sentence_transformers", reason="the extra curate[embed] is not installed")
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("encoders")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *"0123456789abcdefghijklmnopqrstuvwxyz?.", *(f"##{c}" for c in "0123456789abcdefghijklmnopqrstuvwxyz")]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **names).save_pretrained(folder / "bert")
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(pieces), max_position_embeddings=64, initializer_range=0.3, **sizes)).save_pretrained(
        folder / "bert"
    )
    sentence_transformers.SentenceTransformer(str(folder / "bert"), device="cpu").save(str(folder / "encoder"))
    return folder / "encoder"
