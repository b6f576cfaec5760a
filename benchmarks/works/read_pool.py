"""Reading, validating and fingerprinting chats

JSON lines of the mixed pool, gone through again and again with small edits. The peer is `datasets.load_dataset` into an empty
cache and a map that looks at every message and hashes the conversation, in one process and in two; it leaves the rows in the
order of the file and says nothing of the others. `rows`: different conversations that can be used.
"""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

from speed import CannotRun
from works_data import chats

REACH = "a million chats twice as fast, below 4 GB"
SIZES = {"1,000,000 rows": {"rows": 1_000_000}}
GROWTH = ("rows", [30_000, 100_000, 300_000, 1_000_000], {})


def ours(rows: int):  # type: ignore[no-untyped-def]
    from curate.pool import read_pool

    path = chats(rows)

    def run() -> dict[str, float]:
        pool = read_pool(path)
        return {"rows": len(pool), "fingerprint": int(pool.fingerprint[:8], 16)}

    return run


def checked(row: dict) -> dict:
    """What a user would look at: known roles, contents that are not empty; and a hash of what was said."""
    messages = row["messages"]
    usable = bool(messages) and any(message["role"] == "assistant" for message in messages)
    for message in messages or []:
        usable = (
            usable and message["role"] in ("system", "user", "assistant", "tool") and bool((message["content"] or "").strip())
        )
    text = json.dumps(messages, sort_keys=True, ensure_ascii=False)
    return {"row_id": hashlib.blake2b(text.encode(), digest_size=16).hexdigest(), "usable": usable}


def datasets(processes: int | None, rows: int):  # type: ignore[no-untyped-def]
    try:
        from datasets import disable_progress_bars, load_dataset
    except ImportError as error:
        raise CannotRun(f"not installed: {error}") from None
    path = chats(rows)
    cache = Path(tempfile.mkdtemp(dir=path.parent))
    disable_progress_bars()

    def run() -> dict[str, float]:
        try:
            read = load_dataset("json", data_files=str(path), split="train", cache_dir=str(cache)).map(
                checked, num_proc=processes
            )
            return {"rows": len({row_id for row_id, usable in zip(read["row_id"], read["usable"], strict=True) if usable})}
        finally:
            shutil.rmtree(cache)

    return run


CONTESTANTS = {
    "curate": ours,
    "datasets": lambda rows: datasets(None, rows),
    "datasets, 2 processes": lambda rows: datasets(2, rows),
}
