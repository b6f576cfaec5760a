"""`curate select` on many rows, the command as it is typed

A tenth of the rows of read_pool's file, with an empty store, from the start of the process to its end: reading, tokenising,
scoring, choosing and writing. `again` runs it a second time with the same store. `peak GB` and `cpu s` are those of the command.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from works_data import chats

REACH = "longest on a million rows in less than 3 minutes on 2 cores"
SIZES = {"1,000,000 rows": {"rows": 1_000_000}}
GROWTH = ("rows", [30_000, 100_000, 300_000, 1_000_000], {})
GROWN = ("curate", "again", "random")


def command(folder: Path, path: Path, out: str, method: str) -> dict[str, Any]:
    """What the command took. RuntimeError where it fails."""
    line = [
        sys.executable, "-m", "curate.cli", "select", str(path), "--method", method, "--budget", "10%",
        "--out", str(folder / out), "--store", str(folder / "store"), "--json",
    ]  # fmt: skip
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(line, stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError((folder / "said").read_text().strip()[-200:])
    return {"peak GB": round(usage.ru_maxrss / 2**20, 3), "cpu s": round(usage.ru_utime + usage.ru_stime, 1)}


def selected(method: str, before: bool, rows: int):  # type: ignore[no-untyped-def]
    path = chats(rows)
    folder = Path(tempfile.mkdtemp(dir=path.parent))
    if before:
        command(folder, path, "first", method)

    def run() -> dict[str, Any]:
        try:
            found = command(folder, path, "picked", method)
            kept = sum(file.stat().st_size for file in (folder / "store").rglob("*") if file.is_file())
            return {**found, "store GB": round(kept / 2**30, 3)}
        finally:
            shutil.rmtree(folder)

    return run


CONTESTANTS = {
    "curate": lambda rows: selected("longest", False, rows),
    "again": lambda rows: selected("longest", True, rows),
    "random": lambda rows: selected("random", False, rows),
}
