"""Charts by altair, drawn to SVG beforehand: a page with them needs no script, prints, and follows light and dark."""

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from curate.report.page.colours import STAND_INS, themed
from curate.report.page.text import plain

WIDE, NARROW = 680, 330  # units of a chart's width, on a screen and on a phone
SMALL = 225  # and of one of several beside each other
LARGEST = 1.3  # how much a chart may grow with its column

INK, MUTED, LINE, POOL = (STAND_INS[role] for role in ("ink", "muted", "line", "pool"))
CONFIG: dict[str, Any] = {
    "background": None,
    "font": "sans-serif",
    "view": {"stroke": None},
    "axis": {
        "domain": False, "ticks": False, "grid": True, "gridColor": LINE, "labelColor": MUTED, "titleColor": MUTED,
        "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "labelPadding": 6, "titlePadding": 10,
        "labelLimit": 150,
    },
    "legend": {"disable": True},
    "title": {"color": INK, "fontSize": 13, "fontWeight": 600, "anchor": "start"},
}  # fmt: skip

_MARK = re.compile(r'<(path|rect|text|line) aria-label="([^"]*)" role="graphics-symbol" aria-roledescription="[^"]*"([^>]*?)/>')
_LONG = re.compile(r"(?<=[ ,(\"MLHVAvhlaZz-])(\d+\.\d{3,})(?=[ ,)\"MLHVAvhlaZz-])")
_CLIP = re.compile(r"(?<=[\"#])clip\d+(?=[\")])")
_SIZE = re.compile(r'^<svg [^>]*?width="(\d+)"[^>]*?viewBox="([^"]*)">')


def rows(found: Sequence[Mapping[str, Any]]) -> Any:
    """Rows as altair takes them, their text without hidden characters."""
    import altair

    return altair.InlineData(values=[{name: plain(value) for name, value in row.items()} for row in found])


def method_colour(colour: Mapping[str, str]) -> Any:
    """The channel that gives each method its colour. colour: roles by method."""
    import altair

    scale = altair.Scale(domain=[plain(name) for name in colour], range=[STAND_INS[role] for role in colour.values()])
    return altair.Color("method:N", scale=scale)


def drawn(chart: Any, said: str) -> Markup:
    """The chart as SVG. said: what it shows, for people who do not see it.

    What a mark has as its `description` is shown when the pointer rests on it. Text is escaped by the renderer.
    """
    import vl_convert

    spec = chart.to_dict()
    svg = vl_convert.vegalite_to_svg(spec, config=CONFIG, allowed_base_urls=[])
    size = _SIZE.match(svg)
    assert size is not None
    body = _LONG.sub(lambda number: f"{float(number[1]):.2f}", svg[size.end() :])
    most = round(LARGEST * int(size[1]))
    head = f'<svg class="chart" viewBox="{size[2]}" style="max-width:{most}px" role="img" '
    body = _MARK.sub(r"<\1\3><title>\2</title></\1>", body)
    body = re.sub(r' (?:aria-[a-z]+|role|pointer-events|stroke-miterlimit|font-family)="[^"]*"| opacity="1"', "", body)
    body = re.sub(r'<path class="(?:background|foreground)"[^>]*/>', "", body)
    # The renderer numbers what marks are cut by on and on: a number that is the chart's own is the same in every run.
    own = zlib.crc32(_CLIP.sub("", body).encode())
    body = _CLIP.sub(f"clip{own:08x}", body)
    return Markup("%saria-label=%s>%s") % (Markup(head), Markup('"%s"') % plain(said), Markup(themed(body)))


def figure(make: Callable[[int], Any], said: str) -> Markup:
    """A chart drawn twice, for a wide and a narrow screen, of which the page shows one. make: the chart of a width."""
    wide, narrow = drawn(make(WIDE), said), drawn(make(NARROW), said)
    return Markup('<div class="wide">%s</div><div class="narrow">%s</div>') % (wide, narrow)
