"""Small pools on disk, and where the real data lies."""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from curate.pool import Pool, read_pool

Record = dict[str, Any]


def chat(user: str = "2+2?", assistant: str = "4", **columns: Any) -> Record:
    """A record in the shape `messages`."""
    turns = [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return {"messages": turns, **columns}


@pytest.fixture
def lines(tmp_path: Path) -> Callable[..., Path]:
    """Writes records (or raw lines) as a JSONL file."""

    def write(records: Iterable[Record | str | bytes], name: str = "data.jsonl") -> Path:
        path = tmp_path / name
        texts = [record if isinstance(record, str | bytes) else json.dumps(record) for record in records]
        path.write_bytes(b"".join((text.encode() if isinstance(text, str) else text) + b"\n" for text in texts))
        return path

    return write


@pytest.fixture
def read(lines: Callable[..., Path]) -> Callable[..., Pool]:
    """The pool of some records."""

    def make(records: Iterable[Record | str | bytes], **options: Any) -> Pool:
        return read_pool(lines(records), **options)

    return make


@pytest.fixture
def real_data() -> Path:
    folder = Path(os.environ.get("CURATE_DATA", "../shared/data"))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}; CURATE_DATA names it")
    return folder
