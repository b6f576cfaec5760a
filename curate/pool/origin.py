"""Where a pool came from: all that is needed to read it again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from curate.pool.sources import located


@dataclass(frozen=True)
class Origin:
    """What a pool was read from.

    paths    as any working folder finds them: absolute, or `hub:org/name`.
    files    the files that were really read, of those that are files on disk, in their order.
    columns  canonical field -> the user's column, as for `read_pool`. limit: rows that were read at most.
    steps    the refinements since, each the arguments of `refine`, evaluation sets by their own origins.
    """

    paths: tuple[str, ...]
    files: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    steps: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def of(
        cls, paths: Sequence[str | Path], files: Sequence[str], columns: Mapping[str, str] | None, limit: int | None
    ) -> "Origin":
        """The origin of what was read from these paths, in the working folder of now."""
        read = tuple(str(Path(file).absolute()) for file in files if Path(file).is_file())
        return cls(tuple(located(path) for path in paths), read, dict(columns or {}), limit)

    def refined(self, **step: Any) -> "Origin":
        """The origin of this, refined. step: arguments of `refine` by name."""
        return replace(self, steps=(*self.steps, step))
