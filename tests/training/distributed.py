"""Trains a random model in each of several ways and writes what came of it: `distributed.py FOLDER`, alone or by torchrun."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from curate.lm.encodings import Encodings
from curate.training.config import TrainConfig
from curate.training.trainer import train

COMMON = {"steps": 4, "batch_tokens": 90, "learning_rate": 1e-2, "warmup_ratio": 0.3}
CASES = {
    "full": TrainConfig(adapter="none", **COMMON),
    "lora": TrainConfig(lora_r=4, **COMMON),
    "accumulated": TrainConfig(adapter="none", gradient_accumulation=3, **COMMON),
    "crumbs": TrainConfig(adapter="none", gradient_accumulation=8, **COMMON),  # some micro-batches have no rows
    "asft": TrainConfig(adapter="none", loss="asft", anchor=0.5, **COMMON),
    "asft lora": TrainConfig(lora_r=4, loss="asft", anchor=0.5, masked_thought=0.3, **COMMON),
    "eva": TrainConfig(lora_r=2, lora_variant="eva", **COMMON),
    "rho-1": TrainConfig(adapter="none", token_policy="rho-1", gradient_accumulation=3, **COMMON),
    "sstoken": TrainConfig(lora_r=4, token_policy="sstoken", keep_tokens=0.4, **COMMON),
    "sstoken followed": TrainConfig(adapter="none", token_policy="sstoken", gamma=0.8, history_decay=0.5, **COMMON),
    "kept": TrainConfig(lora_r=4, save_checkpoints=2, save_optimizer=True, checkpoint_steps=2, **COMMON),
}


class Tokenizer:
    """As much of one as hiding tokens needs."""

    pad_token_id = 2


def rows():
    """Twelve rows of very different lengths, with token weights; in some nothing is learned."""
    rng = np.random.default_rng(0)
    ids = [rng.integers(3, 64, length).astype(np.int32) for length in (5, 40, 6, 7, 33, 8, 21, 5, 9, 30, 6, 12)]
    masks = [np.arange(len(row)) >= len(row) // 2 for row in ids]
    weights = [rng.uniform(0, 2, len(row)) * (i % 4 != 0) for i, row in enumerate(ids)]
    return Encodings([f"{i:032x}" for i in range(12)], ids, masks, np.zeros(12, bool)), weights


def main(folder):
    torch.set_num_threads(1)
    encodings, weights = rows()
    rank = int(os.environ.get("RANK", 0))
    for name, config in CASES.items():
        torch.manual_seed(0)
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
        model = LlamaForCausalLM(LlamaConfig(vocab_size=64, max_position_embeddings=64, initializer_range=0.1, **sizes)).eval()
        output = folder / name if config.save_checkpoints else None
        tokenizer = Tokenizer() if config.masked_thought else None
        rng = np.random.default_rng(1)
        losses = [rng.uniform(2, 6, np.count_nonzero(mask[1:])) for mask in encodings.loss_mask]
        reference = losses if config.token_policy == "rho-1" else None
        result = train(model, tokenizer, encodings, config, weights=weights, reference=reference, output=output)
        state = {key: value.contiguous().clone() for key, value in result.model.state_dict().items()}
        save_file(state, folder / f"{name}.{rank}.safetensors")
        (folder / f"{name}.{rank}.json").write_text(json.dumps(result.losses))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
