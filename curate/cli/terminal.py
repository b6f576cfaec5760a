"""What verbs print: tables for people, or one JSON object."""

import json
import sys
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any


def console(stderr: bool = False) -> Any:
    """A console on which no text from data, such as a file's name, can drive the terminal."""
    from rich.console import Console

    from curate.report.table import Harmless

    shown = Console(stderr=stderr, soft_wrap=False)
    shown.push_render_hook(Harmless())
    return shown


def say_written(out: Path | None) -> None:
    console().print(f"written {out}", highlight=False, markup=False, soft_wrap=True)  # a path is copied whole


def say_report(page: Path) -> None:
    console().print(f"report  {page}", highlight=False, markup=False, soft_wrap=True)


def print_json(value: Mapping[str, Any]) -> None:
    """One line of JSON on standard output."""
    sys.stdout.write(json.dumps(_finite(value), default=str, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    """JSON has no NaN: numbers that are not finite become null."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
