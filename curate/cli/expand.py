"""Groups of options: a frozen dataclass of fields becomes the typer parameters of every verb that takes the group."""

from collections.abc import Callable
from copy import copy
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from typer.models import OptionInfo


@dataclass(frozen=True)
class Only:
    """In `Annotated[Group, Only("x", "y")]`: the verb takes these options of the group, the others keep their defaults."""

    names: tuple[str, ...]

    def __init__(self, *names: str) -> None:
        object.__setattr__(self, "names", names)


def expanded(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The verb as typer wants it: each parameter that is a group replaced by the group's options, in a panel of its name."""
    groups: dict[str, tuple[type, list[str]]] = {}
    parameters: list[Parameter] = []
    hints = get_type_hints(verb, include_extras=True)
    for name, given in signature(verb).parameters.items():
        group, names = _group(hints[name])
        if group is None:
            parameters.append(Parameter(name, Parameter.KEYWORD_ONLY, default=given.default, annotation=hints[name]))
            continue
        taken = [field for field in fields(group) if names is None or field.name in names]
        groups[name] = group, [field.name for field in taken]
        parameters += [_parameter(group, field) for field in taken]

    def call(**values: Any) -> Any:
        built = {name: group(**{field: values.pop(field) for field in taken}) for name, (group, taken) in groups.items()}
        return verb(**values, **built)

    call.__name__, call.__doc__ = verb.__name__, verb.__doc__
    call.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _group(hint: Any) -> tuple[Any, tuple[str, ...] | None]:
    """The group that a parameter's type stands for, and which of its options; (None, None) for a plain parameter."""
    if is_dataclass(hint):
        return hint, None
    if get_origin(hint) is Annotated:
        group, *more = get_args(hint)
        chosen = [extra.names for extra in more if isinstance(extra, Only)]
        if is_dataclass(group) and chosen:
            return group, chosen[0]
    return None, None


def _parameter(group: Any, field: Field[Any]) -> Parameter:
    type_, info = get_args(_hints(group)[field.name])
    if isinstance(info, OptionInfo):
        info = copy(info)
        info.rich_help_panel = group.panel
    default = Parameter.empty if field.default is MISSING else field.default
    return Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[type_, info])


@cache
def _hints(group: type) -> dict[str, Any]:
    return get_type_hints(group, include_extras=True)
