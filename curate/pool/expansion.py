"""How much a compressed file may become: one of kilobytes must not fill the memory."""

import io
from pathlib import Path
from typing import IO, cast

from curate.errors import InputError

MAX_EXPANSION = 100  # times its own size; conversations compress to a third or a twentieth of theirs
FREE_BYTES = 256 * 1024 * 1024  # of what comes out of a file, before its ratio is looked at


class Expansion:
    """Counts what comes out of one file. `ratio`: how many times its size that may be, once it is over FREE_BYTES."""

    def __init__(self, path: Path, name: str, ratio: float) -> None:
        self.name, self._ratio = name, ratio
        self._most = max(FREE_BYTES, ratio * path.stat().st_size)
        self._found = 0

    def add(self, size: int) -> None:
        """Raises InputError when that is too much in all."""
        self._found += size
        self.check(self._found)

    def check(self, size: int) -> None:
        """Raises InputError when the whole is said to be of a size that is too much."""
        if size > self._most:
            raise InputError(
                f"{self.name}: it expands to more than {self._ratio:g} times its size and {FREE_BYTES >> 20} MiB, as files that "
                "are made to fill a memory; if it is sound, allow more with --max-expansion"
            )

    def stream(self, inner: IO[bytes]) -> IO[bytes]:
        """The same bytes, counted as they are read."""
        return cast(IO[bytes], io.BufferedReader(_Counted(inner, self), 1 << 18))


class _Counted(io.RawIOBase):
    def __init__(self, inner: IO[bytes], expansion: Expansion) -> None:
        self._inner, self._expansion = inner, expansion

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._inner.read(len(buffer))
        self._expansion.add(len(data))
        buffer[: len(data)] = data
        return len(data)
