"""Losses of random arms on held-out conversations: the material of the check with disguised random methods.

    python benchmarks/random_arms.py tests/comparison/fixtures/random_arms.parquet [--arms 24] [--tokens 10000]

Each arm trains the embedded model on a tenth of the sample pool, drawn and shuffled by its own seed, and is evaluated on the
sample's test set. Writes a row per item: source, tokens (loss tokens) and arm_0, arm_1, ... (nats per token, float32).
Arms that the file holds already are kept, so a run that was stopped goes on.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

import curate
from curate.evaluation.tasks import evaluate
from curate.preparation import as_model, as_tasks
from curate.resources import sample
from curate.training.config import TrainConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--arms", type=int, default=24)
    parser.add_argument("--tokens", type=int, default=10_000)
    asked = parser.parse_args()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        engine, model = curate.Engine(store=curate.Store(folder)), as_model(None)
        rows = engine.add("pool", curate.read_pool(sample("pool")), model)[1]
        [task] = as_tasks(curate.read_pool(sample("test")))
        held_out = engine.add("eval", task.pool, model)[1]
        encodings, tokenizer = engine.encodings(model, rows), engine.tokenizer(model)
        table = pl.read_parquet(asked.out) if asked.out.exists() else None
        for seed in range(asked.arms):
            if table is not None and f"arm_{seed}" in table.columns:
                continue
            picks = np.random.default_rng(seed).choice(len(encodings), len(encodings) // 10, replace=False)
            recipe = TrainConfig(tokens=asked.tokens, batch_tokens=512, seed=seed)
            network = engine.train(model, encodings.take(np.sort(picks)), recipe, f"arm {seed}").merged()
            result = evaluate(network, tokenizer, task, engine.encodings(model, held_out))
            if table is None:
                table = pl.DataFrame(
                    {"source": list(result.sources), "tokens": pl.Series(np.asarray(result.weights), dtype=pl.Int32)}
                )
            table = table.with_columns(pl.Series(f"arm_{seed}", np.asarray(result.values, dtype=np.float32)))
            table.write_parquet(asked.out, compression="zstd")


if __name__ == "__main__":
    main()
