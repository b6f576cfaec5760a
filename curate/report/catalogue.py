"""The methods there are, described by what they themselves say and ask for."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from textwrap import dedent
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from curate.errors import InputError
from curate.lm.models import ModelSpec
from curate.method import Data, Method
from curate.plan import describe
from curate.registry import method_class, method_names, settings_of
from curate.report.table import show_table
from curate.requests import Rows

SOME = 100  # rows of a pool that is not there: enough for every method to ask of
COST = {
    "free": "nothing before training",
    "tokenizer": "tokenising",
    "forward": "a forward pass",
    "views": "a forward pass over each of several views of the rows",
    "pairs": "forward passes over pairs of rows",
    "generation": "replies of the model, a token at a time",
    "gradients": "a gradient for each row",
    "training": "a training and passes",
    "influence": "a training, and a gradient for each row at each of its checkpoints",
}


def catalogue() -> list[dict[str, Any]]:
    """`entry` of every method, sorted by cost and name."""
    order = list(COST.values())
    return sorted((entry(name) for name in method_names()), key=lambda row: (order.index(row["cost"]), row["name"]))


def entry(name: str) -> dict[str, Any]:
    """A method: name, keeps, about, asks_for, cost, extra (of trainings on its picks), paper, settings, and of these what each is
    for (meanings) and which words it takes (values). InputError for no method."""
    cls = method_class(name)
    data = Data(pool=Rows("pool", "", SOME), model=ModelSpec("the model"))
    try:
        requests = cls().requests(data, {})
    except InputError:  # there is nothing to ask for without a target
        requests = cls().requests(replace(data, target=Rows("target", "", SOME)), {})
    asked = dict.fromkeys(describe(request) for request in requests)
    keeps, _, about = (cls.__doc__ or "").partition("\n")
    return {
        "name": name,
        "keeps": keeps.rstrip("."),
        "about": dedent(about).strip(),
        "asks_for": "; ".join(asked) or "nothing",
        "cost": COST[cls.cost],
        "extra": cls.extra,
        "paper": f"arXiv {cls.paper}" if cls.paper[:1].isdigit() else cls.paper,
        "settings": settings_of(cls()),
        "meanings": _meanings(cls()),
        "values": _values(cls()),
    }


def _flowing(text: str) -> str:
    """Paragraphs as one line each, to be wrapped by the terminal; lists and formulas as they are."""
    parts = text.split("\n\n")
    return "\n\n".join(part if re.search(r"\S {3,}\S|^ ", part, re.MULTILINE) else " ".join(part.split()) for part in parts)


def _meanings(settings: BaseModel, prefix: str = "") -> dict[str, str]:
    """What each setting is for, under the name that it is set by."""
    found: dict[str, str] = {}
    for key, field in type(settings).model_fields.items():
        value = getattr(settings, key)
        if isinstance(value, BaseModel) and not isinstance(value, Method):
            found |= _meanings(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = field.description or ""
    return found


def _values(settings: BaseModel, prefix: str = "") -> dict[str, list[str]]:
    """The words that a setting takes, of those that take a choice of words."""
    found: dict[str, list[str]] = {}
    for key, field in type(settings).model_fields.items():
        value = getattr(settings, key)
        if isinstance(value, BaseModel) and not isinstance(value, Method):
            found |= _values(value, f"{prefix}{key}.")
        elif words := _words(field.annotation):
            found[f"{prefix}{key}"] = words
    return found


def _words(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return [str(word) for word in get_args(annotation)]
    return [word for part in get_args(annotation) for word in _words(part)]


def show_catalogue(console: Console, methods: Sequence[Mapping[str, Any]]) -> None:
    """The methods under what they cost, a line or two each."""
    width = max(len(method["name"]) for method in methods)
    for cost, alike in groupby(methods, key=itemgetter("cost")):
        console.print(Text(f"\ncosts {cost}", style="dim"))
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(width=width)
        table.add_column(ratio=1)
        table.add_column(no_wrap=True, overflow="fold")  # what is looked up must not be parted
        for method in alike:
            said = method["keeps"] if method["extra"] is None else f"{method['keeps']} (training takes {method['extra']} more)"
            table.add_row(Text(method["name"], style="bold"), Text(said), Text(method["paper"], style="dim"))
        console.print(Padding(table, (0, 0, 0, 2)))
    console.print(Text("\nuse one as `--method NAME` or, with a setting, `--method NAME:key=value`"))
    console.print(Text("`curate methods NAME` says what a method asks for, what it costs and what its settings are"))


def _meaning(said: str, words: Sequence[str]) -> str:
    """What a setting is for, and the words it takes where that does not name them all."""
    named = set(re.findall(r"[\w-]+", said))
    return said if set(words) <= named else f"{said} ({', '.join(words)})"


def show_method(console: Console, method: Mapping[str, Any]) -> None:
    """One method with all that it says of itself."""
    console.print(Text.assemble((method["name"], "bold"), f"  {method['keeps']}"))
    console.print(Padding(Text(_flowing(method["about"])), (1, 0, 1, 2)))
    cost = method["cost"] if method["extra"] is None else f"{method['cost']}; training takes {method['extra']} more"
    for name, said in (("asks for", method["asks_for"]), ("cost", cost), ("paper", method["paper"])):
        console.print(Text.assemble((f"{name:<9} ", "dim"), said))
    if method["settings"]:
        given = {key: "" if value is None else str(value) for key, value in method["settings"].items()}
        rows = [
            (key, value, _meaning(method["meanings"].get(key, ""), method["values"].get(key, []))) for key, value in given.items()
        ]
        console.print()
        console.print(show_table("", ("setting", "default", ""), rows))
