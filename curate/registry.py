"""Methods by name, found through the entry-point group `curate.methods`."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any

from pydantic import ValidationError

from curate.errors import InputError, first_fault
from curate.method import Method


@lru_cache(maxsize=1)
def _found() -> dict[str, Any]:
    return {point.name: point for point in sorted(entry_points(group="curate.methods"), key=lambda point: point.name)}


def method_names() -> list[str]:
    """The names of all methods installed, sorted."""
    return list(_found())


def method_class(name: str) -> type[Method]:
    """The class registered under a name; InputError with the closest names when there is none."""
    if name not in _found():
        from difflib import get_close_matches

        close = [name.lower()] if name.lower() in _found() else get_close_matches(name.lower(), _found(), n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(close)}?" if close else f"there are: {', '.join(_found())}"
        raise InputError(f"no method is called {name!r}; {hint}")
    return _found()[name].load()


def listed(text: str, others: Iterable[str] = ()) -> list[str]:
    """The methods in a list with commas, as `make_method` reads them; a setting's value may hold commas of its own.

    others: words that may stand there as well."""
    found: list[str] = []
    for part in text.split(","):
        if found and "=" in found[-1] and part.partition(":")[0] not in {*_found(), *others}:
            found[-1] += f",{part}"
        else:
            found.append(part)
    return found


def make_method(text: str, settings: Mapping[str, Any] | None = None) -> Method:
    """A method from `name` or `name:key=value:key=value`, with further settings (dotted keys reach inside a field).

    Raises InputError that names the setting at fault.
    """
    name, _, rest = text.partition(":")
    cls = method_class(name)
    values: dict[str, Any] = {}
    for pair in re.split(r":(?=[\w.]+=)", rest) if rest else ():  # a value may hold colons
        key, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"{pair!r} in {text!r} is not a setting; write {name}:key=value")
        _put(values, key, value)
    for key, value in (settings or {}).items():
        _put(values, key, value)
    return build(cls, values)


def build(cls: type[Method], values: Mapping[str, Any]) -> Method:
    """The method with these settings. Raises InputError that names the setting at fault."""
    try:
        return cls(**values)
    except ValidationError as error:
        known = ", ".join(cls.model_fields) or "none"
        raise InputError(f"{cls.name}: {first_fault(error.errors())} (its settings: {known})") from None


def label(method: Method) -> str:
    """The method's name with the settings that differ from its defaults: `perplexity:window=low`; or its own title."""
    if (title := method.called()) is not None:
        return title
    changed = method.model_dump(exclude_defaults=True)
    flat = [f"{key}={value}" for key, value in _flatten(changed)]
    return ":".join([method.name, *flat])


def by_label(methods: Iterable[Method]) -> dict[str, Method]:
    """Methods by label, in order, each once. Raises InputError where one label stands for two different methods."""
    found: dict[str, Method] = {}
    for method in methods:
        if found.setdefault(label(method), method) != method:
            raise InputError(f"two different methods are called {label(method)!r}; give one of them another title")
    return found


def settings_of(method: Method) -> dict[str, Any]:
    """All settings by the names that people give them, dotted where they lie inside a field."""
    return dict(_flatten(method.model_dump(mode="json")))


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        values = values.setdefault(part, {})
    values[last] = value


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in values.items():
        nested = isinstance(value, Mapping)
        pairs += _flatten(value, f"{prefix}{key}.") if nested else [(f"{prefix}{key}", value)]
    return pairs
