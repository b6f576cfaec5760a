"""Data that several works share: made once, in the folder for temporary files."""

import os
import tempfile
from pathlib import Path

FOLDER = Path(tempfile.gettempdir()) / "curate-speed"


def chats(rows: int) -> Path:
    """JSON lines of so many different conversations: those of the mixed pool with small edits, or of the embedded sample."""
    from pool_scale import EMBEDDED, make

    mixed = Path(os.environ.get("CURATE_DATA", "")) / "mixed" / "pool.parquet"
    make(mixed if mixed.is_file() else EMBEDDED, FOLDER, rows)
    return FOLDER / f"pool-{rows}.jsonl"
