"""Errors that a user can put right. Each carries one clear sentence and no traceback reaches the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any


class CurateError(Exception):
    """A fault that the user can act upon; `str(error)` is one sentence that names the file, line or field."""


class InputError(CurateError, ValueError):
    """The input or the usage is wrong (exit code 2 on the command line)."""


def first_fault(errors: Sequence[Mapping[str, Any]], kind: str = "setting") -> str:
    """What pydantic's `errors()` say first, in the user's words. kind: what a field is called there."""
    first = errors[0]
    field, text = ".".join(map(str, first["loc"])), str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return f"there is no {kind} {field!r}"
    return f"{kind} {field!r}: {text}" if field else text
