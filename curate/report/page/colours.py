"""Colours by their roles: a chart names a role, and the page's style sheet says what it is in light, in dark and in print."""

from collections.abc import Sequence

from curate.comparison.design import CONTROLS

COLOURS = 8
ROLES = ("ink", "muted", "line", "pool", *(f"c{i}" for i in range(COLOURS)), *(f"k{i}" for i in range(len(CONTROLS))))

# What stands for a role inside a chart; no chart has a colour of its own, so these can be replaced in its text.
STAND_INS = {role: f"#0a0b{number:02x}" for number, role in enumerate(ROLES)}


def themed(svg: str) -> str:
    """The text of a chart with the style sheet's variables in the place of the stand-ins."""
    for role, stand_in in STAND_INS.items():
        svg = svg.replace(f'"{stand_in}"', f'"var(--{role})"')
    return svg


def roles(methods: Sequence[str]) -> dict[str, str]:
    """The role of each method: controls have greys of their own, the others a colour each, in turn beyond eight."""
    named = [method for method in methods if method not in CONTROLS]
    return {
        **{method: f"k{CONTROLS.index(method)}" for method in methods if method in CONTROLS},
        **{method: f"c{number % COLOURS}" for number, method in enumerate(named)},
    }


def ordered(methods: Sequence[str]) -> list[str]:
    """Each method once, the controls behind the others."""
    unique = list(dict.fromkeys(methods))
    return [name for name in unique if name not in CONTROLS] + [name for name in reversed(CONTROLS) if name in unique]
