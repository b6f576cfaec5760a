"""Trains a small random model, telling each step on standard output: `killed.py FOLDER`. Resumes where it can."""

import sys
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from curate.lm.encodings import Encodings
from curate.training.config import TrainConfig
from curate.training.trainer import save_model, train

CONFIG = TrainConfig(
    lora_r=4, lora_variant="pissa", lora_dropout=0.2, loss="asft", masked_thought=0.2, steps=30, batch_tokens=60,
    learning_rate=1e-2, checkpoint_steps=2, save_checkpoints=6, save_optimizer=True,
)  # fmt: skip


class Tokenizer:
    """As much of one as training needs."""

    pad_token_id = 2

    def save_pretrained(self, folder):
        pass


def main(folder):
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    ids = [rng.integers(3, 64, rng.integers(5, 20)).astype(np.int32) for _ in range(12)]
    masks = [np.arange(len(row)) >= len(row) // 2 for row in ids]
    rows = Encodings([f"{i:032x}" for i in range(12)], ids, masks, np.zeros(12, bool))
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=64, max_position_embeddings=64, **sizes)).eval()

    def tell(done, total):
        print(done, flush=True)

    result = train(model, Tokenizer(), rows, CONFIG, output=folder, resume=True, progress=tell)
    save_model(result, folder / "model")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
