"""What works on language models share: real conversations as token ids, and the model that runs over them."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from speed import CannotRun

BATCH_TOKENS = 4096


def folder(name: str = "base-28m") -> Path:
    """A model of CURATE_MODELS."""
    found = Path(os.environ.get("CURATE_MODELS", "")) / name
    if not (found / "config.json").exists():
        raise CannotRun(f"no model {name}: set CURATE_MODELS")
    return found


def pool_of(rows: int) -> Any:
    """The first conversations of mixed/slice.parquet in CURATE_DATA."""
    import curate

    path = Path(os.environ.get("CURATE_DATA", "")) / "mixed" / "slice.parquet"
    if not path.exists():
        raise CannotRun("no mixed/slice.parquet: set CURATE_DATA")
    return curate.read_pool(path, limit=rows)


def encoded(rows: int, limit: int = 512, name: str = "base-28m") -> Any:
    """Encodings of `rows` conversations in the order of the file, cut at `limit` tokens, those without a reply left out."""
    from curate.lm.encode import encode_rows
    from curate.lm.encodings import Encodings
    from curate.lm.models import load_tokenizer

    pool = pool_of(2 * rows)
    given = [(pool.messages(i), pool.tools(i)) for i in range(len(pool))]
    found = encode_rows(load_tokenizer(folder(name)), given, limit)
    kept = [(i, row) for i, row in zip(pool.row_ids, found, strict=True) if row.reason is None and row.loss_mask[1:].any()]
    if len(kept) < rows:
        raise CannotRun(f"{len(kept)} conversations of {2 * rows} can be used")
    ids, masks = [row.input_ids for _, row in kept[:rows]], [row.loss_mask for _, row in kept[:rows]]
    return Encodings([i for i, _ in kept[:rows]], ids, masks, np.zeros(rows, bool))


def network(name: str = "base-28m") -> Any:
    """The model in float32 on the CPU."""
    from curate.lm.models import load_model

    return load_model(folder(name), device="cpu", dtype="float32")
