"""A random Llama of a few thousand weights and conversations of random tokens."""

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from curate.lm.encodings import Encodings

VOCABULARY = 64


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_model():
    def make(seed=0, **settings):
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
        config = LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=64, **{**sizes, **settings})
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()

    return make


@pytest.fixture
def make_encodings():
    def make(n, seed=0, shortest=5, longest=20):
        rng = np.random.default_rng(seed)
        ids = [rng.integers(3, VOCABULARY, rng.integers(shortest, longest + 1)).astype(np.int32) for _ in range(n)]
        masks = [np.arange(len(row)) >= len(row) // 2 for row in ids]
        return Encodings([f"{i:032x}" for i in range(n)], ids, masks, np.zeros(n, bool))

    return make


@pytest.fixture
def same_weights():
    def same(one, other):
        a, b = one.state_dict(), other.state_dict()
        return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)

    return same
