"""A map of the pool, with the picks of each method on it."""

from collections import Counter
from typing import Any

from curate.report.page.charts import POOL, STAND_INS, drawn, rows
from curate.report.page.folder import Folder
from curate.report.page.render import Section, filled

CELLS = 32  # along each side, in which the rows of the pool are counted
SIDE = 250


def section(folder: Folder) -> Section | None:
    """A map for each method, the pool as a grey ground that is darker where there are more rows."""
    found = (folder.overview or {}).get("map")
    if not found or len(found["pool"]) < 3:
        return None
    ground = _ground(found["pool"])
    names = [name for name in folder.picked if found["kept"].get(name)]
    shown = [{"method": name, "chart": _chart(folder, name, ground, found["kept"][name])} for name in names]
    if not shown:
        return None
    html = filled("maps", shown=shown, how=found["how"], drawn=len(found["pool"]), rows=folder.overview["rows"],  # type: ignore[index]
                  most=max(len(points) for points in found["kept"].values()), colour=folder.colour)  # fmt: skip
    return Section("map", "Map of the pool", "Map", html)


def _ground(points: list[list[int]]) -> list[dict[str, Any]]:
    counts = Counter((min(CELLS - 1, x * CELLS // 1000), min(CELLS - 1, y * CELLS // 1000)) for x, y in points)
    most = max(counts.values())
    step = 1000 / CELLS
    return [
        {"x": x * step, "x2": (x + 1) * step, "y": y * step, "y2": (y + 1) * step, "share": (count / most) ** 0.5}
        for (x, y), count in sorted(counts.items())
    ]


def _chart(folder: Folder, name: str, ground: list[dict[str, Any]], kept: list[list[Any]]) -> Any:
    import altair as alt

    place = lambda field, channel: channel(f"{field}:Q", axis=None, scale=alt.Scale(domain=[0, 1000], nice=False))  # noqa: E731
    x, y = place("x", alt.X), place("y", alt.Y)
    strength = alt.Opacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0.15, 1]))
    pool = alt.Chart(rows(ground)).mark_rect(color=POOL, aria=False).encode(x=x, x2="x2:Q", y=y, y2="y2:Q", opacity=strength)
    points = alt.Chart(rows([{"x": a, "y": b, "text": text or "(no text)"} for a, b, text in kept]))
    colour = STAND_INS[folder.colour[name]]
    picks = points.mark_point(filled=True, color=colour, size=20, opacity=0.75).encode(x=x, y=y, description="text:N")
    return drawn(alt.layer(pool, picks).properties(width=SIDE, height=SIDE), f"map of the pool with the picks of {name}")
