"""Writing files so that a half-written one is never seen under its final name."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from curate.errors import InputError

MARKER = ".curate"  # in every output folder: only what carries it is ever replaced


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync it and rename it to `path`, on error remove it."""
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(final)
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, final)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """As `atomic_file` for a folder. A folder that another process put there meanwhile is kept, ours dropped."""
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(final)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _sync(file)
        try:
            os.rename(temporary, final)
        except OSError:
            if not final.is_dir():
                raise
            shutil.rmtree(temporary)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def check_output(
    path: str | os.PathLike[str], *, overwrite: bool = False, keep: Iterable[str | os.PathLike[str] | None] = ()
) -> None:
    """Raise InputError when results cannot be written to this folder; called before anything is computed.

    keep: what must not lie in a folder that `overwrite` would replace: the inputs and the store, beside the working folder.
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"the output {folder} is a file, not a folder")
    if folder.exists() and any(folder.iterdir()) and not overwrite:
        raise InputError(f"the output folder {folder} is not empty; choose another or pass --overwrite")
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise InputError(f"the output folder {folder} is not one that curate wrote, so --overwrite leaves it alone")
    if folder.exists() and overwrite:
        for kept in (Path.cwd(), *(Path(item) for item in keep if item is not None)):
            if kept.resolve().is_relative_to(folder.resolve()):
                raise InputError(f"--overwrite would remove {kept}, which lies in the output folder {folder}; choose another")
    parent = folder.absolute()
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise InputError(f"the output folder {folder} cannot be made: {parent} is a file")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"the output folder {folder} cannot be written: no permission in {parent}")


@contextlib.contextmanager
def output_folder(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` when the block ends well; with `overwrite` it replaces one."""
    check_output(path, overwrite=overwrite)
    final = Path(path)
    old = None
    with atomic_folder(final) as temporary:
        (temporary / MARKER).write_text("made by curate; --overwrite may replace this folder\n")
        yield temporary
        if final.exists():
            old = _temporary(final)
            os.rename(final, old)
    if old is not None:
        shutil.rmtree(old)
