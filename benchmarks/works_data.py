"""Data that several works share: made once, in the folder for temporary files."""

import os
import tempfile
from pathlib import Path

import numpy as np

FOLDER = Path(tempfile.gettempdir()) / "curate-speed"


def chats(rows: int) -> Path:
    """JSON lines of so many different conversations: those of the mixed pool with small edits, or of the embedded sample."""
    from pool_scale import EMBEDDED, make

    mixed = Path(os.environ.get("CURATE_DATA", "")) / "mixed" / "pool.parquet"
    make(mixed if mixed.is_file() else EMBEDDED, FOLDER, rows)
    return FOLDER / f"pool-{rows}.jsonl"


def vectors(n: int, d: int, centres: int, seed: int = 0) -> np.ndarray:
    """float32 [n, d], unit vectors: Gaussian around so many centres, or around none."""
    rng = np.random.default_rng(seed)
    found = rng.standard_normal((n, d), dtype=np.float32)
    if centres:
        found += rng.standard_normal((centres, d), dtype=np.float32)[rng.integers(centres, size=n)]
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found
