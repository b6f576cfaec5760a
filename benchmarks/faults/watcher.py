"""Looks at folders while others write there: a file under its final name must be whole from the first moment."""

import json
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq

from curate.errors import CurateError
from curate.files import is_temporary
from curate.store.checks import check_folder
from curate.store.rows import open_shard


class Watcher:
    """Checks every file and folder that appears, once, until the block ends.

    checked  how many. faults: what was not whole, in words.
    """

    def __init__(self, folders: list[Path]) -> None:
        self.folders, self.checked, self.faults = folders, 0, []
        self._seen: set[Path] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._stop.is_set():
            self._look()
            time.sleep(0.002)

    def _look(self) -> None:
        for folder in self.folders:
            for path in self._final(folder):
                if path not in self._seen:
                    self._seen.add(path)
                    self.checked += 1
                    try:
                        check(path)
                    except FileNotFoundError:
                        pass  # removed or replaced meanwhile
                    except (CurateError, ValueError, OSError) as error:
                        self.faults.append(f"{path.relative_to(folder.parent)}: {error}")

    def _final(self, folder: Path) -> list[Path]:
        """What lies under final names: temporary files and folders, and all in them, are passed by."""
        found, left = [], [folder]
        while left:
            try:
                children = sorted(left.pop().iterdir())
            except (FileNotFoundError, NotADirectoryError):
                continue
            for child in children:
                if not is_temporary(child):
                    found.append(child)
                    if child.is_dir() and not child.is_symlink():
                        left.append(child)
        return found


def check(path: Path) -> None:
    """Raises CurateError, ValueError or OSError for a file, or a folder of a fit or an arm, that is not whole."""
    if path.is_dir():
        if path.parent.name in ("fits", "arms"):
            check_folder(path)
    elif path.name.startswith("part-"):
        open_shard(path)
    elif path.suffix == ".parquet":
        pq.read_table(path)
    elif path.suffix == ".json":
        json.loads(path.read_bytes())
    elif path.suffix == ".jsonl":
        for line in path.read_bytes().splitlines():
            json.loads(line)
    elif path.name == "VERSION" and path.read_bytes() == b"":
        raise ValueError("it is empty")
