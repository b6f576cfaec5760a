"""How far a pass in bfloat16 is from the same pass in float32, row by row.

    python benchmarks/half_precision.py POOL MODEL... [--rows 200]

Prints a Markdown table: differences of the rows' mean losses in nats per token, their rank correlation, tokens per second.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

import curate
from curate.lm.encode import encode_rows
from curate.lm.encodings import Encodings
from curate.lm.forward import mean_losses
from curate.lm.models import ModelSpec, load_model, load_tokenizer


def encoded(pool: curate.Pool, folder: Path) -> Encodings:
    """The rows of a pool that the model can use, up to 512 tokens."""
    rows = encode_rows(load_tokenizer(folder), [(pool.messages(i), pool.tools(i)) for i in range(len(pool))], 512)
    kept = [(row_id, row) for row_id, row in zip(pool.row_ids, rows, strict=True) if row.reason is None]
    ids, masks = [row.input_ids for _, row in kept], [row.loss_mask for _, row in kept]
    return Encodings([row_id for row_id, _ in kept], ids, masks, np.zeros(len(kept), bool))


def timed(folder: Path, dtype: str, encodings: Encodings) -> tuple[np.ndarray, float]:
    """(mean loss per row, tokens per second)."""
    network = load_model(folder, device="cpu", dtype=dtype)
    mean_losses(network, encodings.take(range(2)))
    began = time.perf_counter()
    values, _ = mean_losses(network, encodings)
    return values, float(encodings.lengths.sum()) / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pool")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--rows", type=int, default=200)
    given = parser.parse_args()
    pool = curate.read_pool(given.pool, limit=given.rows)
    print("| model | rows | mean, difference | row, mean | row, 99% | row, most | rank correlation | speed, bf16 / fp32 |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in given.models:
        encodings = encoded(pool, ModelSpec(name).folder())
        (exact, fast), (rough, slow) = (timed(ModelSpec(name).folder(), dtype, encodings) for dtype in ("float32", "bfloat16"))
        off = np.abs(rough - exact)
        print(
            f"| {ModelSpec(name).label} | {len(exact)} | {abs(rough.mean() - exact.mean()):.4f} | {off.mean():.4f} "
            f"| {np.quantile(off, 0.99):.4f} | {off.max():.4f} | {spearmanr(rough, exact).statistic:.5f} | {slow / fast:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
