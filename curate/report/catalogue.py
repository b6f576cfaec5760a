"""The methods there are, described by what they themselves say and ask for."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from curate.errors import InputError
from curate.lm.models import ModelSpec
from curate.method import Data
from curate.plan import describe
from curate.registry import method_class, method_names, settings_of
from curate.requests import Rows

COST = {"free": "nothing", "tokenizer": "tokenising", "forward": "a forward pass", "training": "a training and passes"}


def catalogue() -> list[dict[str, Any]]:
    """One entry per method, sorted by cost and name: name, keeps, asks_for, cost, paper, settings."""
    data = Data(pool=Rows("pool", "", 1), model=ModelSpec("the model"))
    aimed = replace(data, target=Rows("target", "", 1))
    found = []
    for name in method_names():
        cls = method_class(name)
        try:
            requests = cls().requests(data, {})
        except InputError:  # there is nothing to ask for without a target
            requests = cls().requests(aimed, {})
        asked = dict.fromkeys(describe(request) for request in requests)
        found.append(
            {
                "name": name,
                "keeps": (cls.__doc__ or "").split("\n")[0].rstrip("."),
                "asks_for": "; ".join(asked) or "nothing",
                "cost": COST[cls.cost],
                "paper": f"arXiv {cls.paper}" if cls.paper[:1].isdigit() else cls.paper,
                "settings": settings_of(cls()),
            }
        )
    order = list(COST.values())
    return sorted(found, key=lambda row: (order.index(row["cost"]), row["name"]))


def show_catalogue(console: Console, methods: Sequence[Mapping[str, Any]]) -> None:
    """The methods under what they cost, each with what it asks for, its settings and its paper."""
    cost = None
    for method in methods:
        if method["cost"] != cost:
            cost = method["cost"]
            console.print(Text(f"\ncosts {cost}", style="dim"))
        console.print(Text.assemble((f"  {method['name']}", "bold"), f"  {method['keeps']}"))
        settings = ", ".join(f"{key}={value}" for key, value in method["settings"].items())
        details = [f"asks for {method['asks_for']}", f"settings {settings}" if settings else "", method["paper"]]
        for line in filter(None, details):
            console.print(Padding(Text(line, style="dim"), (0, 0, 0, 6)))
    console.print(Text("\nuse one as `--method name` or, with a setting, `--method name:key=value`"))
