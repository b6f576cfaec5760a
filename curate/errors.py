"""Errors that a user can put right. Each carries one clear sentence and no traceback reaches the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any


class CurateError(Exception):
    """A fault that the user can act upon; `str(error)` is one sentence that names the file, line or field."""


class InputError(CurateError, ValueError):
    """The input or the usage is wrong (exit code 2 on the command line)."""


_BRANCHES = ("str", "int", "float", "constrained-int")  # of a field that takes either
_WANTED = {
    **dict.fromkeys(("float_parsing", "float_type"), "a number"),
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float", "int_parsing_size"), "a whole number"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "true or false"),
    **dict.fromkeys(("tuple_type", "list_type"), "a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "a mapping"),
    "string_type": "text",
}


def first_fault(errors: Sequence[Mapping[str, Any]], kind: str = "setting") -> str:
    """What pydantic's `errors()` say first, in the user's words. kind: what a field is called there."""
    first = errors[0]
    loc, text = list(first["loc"]), str(first["msg"]).removeprefix("Value error, ")
    given = repr(first.get("input"))
    given = given if len(given) <= 60 else given[:57] + "..."
    either = bool(loc) and loc[-1] in _BRANCHES
    if either:
        loc = loc[:-1]
    if either and first["type"] in _WANTED:
        text = f"a number or text is wanted, not {given}"
    elif first["type"] in _WANTED:
        text = f"{_WANTED[first['type']]} is wanted, not {given}"
    elif first["type"] == "missing":
        text = "it is missing"
    elif text.startswith("Input should be "):
        text = f"it must be {text.removeprefix('Input should be ')}, not {given}"
    field = ".".join(map(str, loc))
    if first["type"] == "extra_forbidden":
        return f"there is no {kind} {field!r}"
    return f"{kind} {field!r}: {text}" if field else text
