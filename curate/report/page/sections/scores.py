"""How each method's scores are spread, and which part was kept."""

from typing import Any

from curate.report.page.charts import POOL, SMALL, STAND_INS, drawn, rows
from curate.report.page.folder import Folder
from curate.report.page.render import Section, filled

HEIGHT = 105


def section(folder: Folder) -> Section | None:
    """A histogram for each method that scores rows: the pool in grey, and over it what was picked."""
    spreads = (folder.overview or {}).get("scores", {})
    names = [name for name in folder.methods if name in spreads]
    if not names:
        return None
    shown = [{"method": name, "chart": _chart(folder, name, spreads[name]), "spread": spreads[name]} for name in names]
    picked = any(sum(spreads[name]["kept"]) for name in names)
    html = filled("scores", shown=shown, colour=folder.colour, rows=folder.overview["rows"], picked=picked)  # type: ignore[index]
    return Section("scores", "Scores", "Scores", html)


def _chart(folder: Folder, name: str, spread: dict[str, Any]) -> Any:
    import altair as alt

    edges = spread["edges"]
    bars = [
        {"x": a, "x2": b, "pool": pool, "kept": kept, "text": f"{a:.4g} to {b:.4g}: {pool:,} rows, {kept:,} of them kept"}
        for a, b, pool, kept in zip(edges, edges[1:], spread["pool"], spread["kept"], strict=False)
        if pool
    ]
    data, colour = alt.Chart(rows(bars)), STAND_INS[folder.colour[name]]
    scale = alt.Scale(domain=[edges[0], edges[-1]], nice=False)
    x = alt.X("x:Q", axis=alt.Axis(title=None, grid=False, tickCount=4), scale=scale)
    y = lambda field: alt.Y(f"{field}:Q", axis=alt.Axis(title=None, tickCount=3))  # noqa: E731
    bar = lambda field, fill: data.mark_rect(color=fill).encode(  # noqa: E731
        x=x, x2="x2:Q", y=y(field), y2=alt.datum(0), description="text:N"
    )
    return drawn(alt.layer(bar("pool", POOL), bar("kept", colour)).properties(width=SMALL, height=HEIGHT), f"scores of {name}")
