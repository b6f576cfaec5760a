"""Writing files so that a half-written one is never seen under its final name."""

import contextlib
import errno
import os
import platform
import re
import secrets
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path

from curate.errors import InputError

MARKER = ".curate"  # in every output folder: only what carries it is ever replaced
LEFT_OVER = 3600.0  # seconds after which a temporary file without its process is nobody's
_WRITING = {errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EPERM, errno.EROFS}
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}\.tmp")


def _host() -> str:
    return f"{zlib.crc32(platform.node().encode()):08x}"


def temporary_name(path: Path) -> Path:
    """A name beside `path` that tells whose it is, so that what a killed process leaves can be told apart."""
    return path.with_name(f".{path.name}.{_host()}-{os.getpid()}-{secrets.token_hex(4)}.tmp")


def is_temporary(path: Path) -> bool:
    """Whether a file or folder is one that is still being written, or was when its process ended."""
    return _TEMPORARY.fullmatch(path.name) is not None


def final_path(path: Path) -> Path:
    """Where a file will lie once the temporary folders around it have been renamed."""
    parts = (match["name"] if (match := _TEMPORARY.fullmatch(part)) else part for part in path.absolute().parts)
    return Path(*parts)


def left_over(path: Path) -> bool:
    """Whether a temporary file or folder of ours has lost its process: a killed one cannot clean up.

    A process of another machine cannot be asked after, so what it writes is given a week.
    """
    match = _TEMPORARY.fullmatch(path.name)
    if match is None:
        return False
    try:
        age = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return False
    if match["host"] != _host():
        return age > 168 * LEFT_OVER
    return age > LEFT_OVER and not _alive(int(match["pid"]))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _named(final: Path) -> Iterator[None]:
    """An error in writing names the file that was meant, not the temporary one or none at all."""
    try:
        yield
    except OSError as error:
        if error.errno in _WRITING:
            given = isinstance(error.filename, (str, bytes))
            error.filename, error.filename2 = str(final_path(Path(os.fsdecode(error.filename)) if given else final)), None
        raise
    except Exception as error:  # polars and safetensors tell what the system said in their own words
        said = re.search(r"\(os error (\d+)\)", str(error))
        if said is None or int(said[1]) not in _WRITING:
            raise
        raise OSError(int(said[1]), os.strerror(int(said[1])), str(final_path(final))) from error


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync it and rename it to `path`, on error remove it."""
    final = Path(path)
    with _named(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_name(final)
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
    with _named(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_name(final)
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
    try:  # the permissions do not tell: root may do anything, but not in /proc or on what is mounted for reading
        with tempfile.TemporaryDirectory(prefix=".curate-", dir=parent):
            pass
    except OSError as error:
        raise InputError(f"the output folder {folder} cannot be written: {error.strerror} in {parent}") from None


@contextlib.contextmanager
def output_folder(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` when the block ends well; with `overwrite` it replaces one.

    Where somebody else has written to `path` meanwhile, it becomes `path`-2 (or -3, ...), and an InputError says so.
    """
    check_output(path, overwrite=overwrite)
    final = Path(path)
    old = None
    with atomic_folder(final) as temporary:
        (temporary / MARKER).write_text("made by curate; --overwrite may replace this folder\n")
        yield temporary
        try:
            check_output(path, overwrite=overwrite)  # again: another run may have written there meanwhile
        except InputError as error:
            spare = next(name for n in count(2) if not (name := final.with_name(f"{final.name}-{n}")).exists())
            os.rename(temporary, spare)
            raise InputError(f"{error}; the results of this run lie in {spare}") from None
        if final.exists():
            old = temporary_name(final)
            os.rename(final, old)
    if old is not None:
        shutil.rmtree(old)
