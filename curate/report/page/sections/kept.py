"""Of which lengths, sources and groups of like rows the picks are, beside the pool."""

from collections.abc import Mapping, Sequence
from typing import Any

from curate.report.page.charts import POOL, SMALL, STAND_INS, drawn, rows
from curate.report.page.folder import Folder
from curate.report.page.render import Section, filled
from curate.report.page.scales import round_steps

HEIGHT = 95


def section(folder: Folder) -> Section | None:
    """Lengths as small charts of one scale; sources and groups as tables of how much more or less often they are kept."""
    names = folder.picked
    if not names or folder.overview is None:
        return None
    found = folder.overview
    replies, sources, groups = found["replies"], found["sources"], found["clusters"]
    lengths = [{"method": name, "chart": _chart(folder, name, replies), "median": replies["median"].get(name)} for name in names]
    by_source = _table(sources["names"], _shares(sources["pool"]), {name: _shares(sources["kept"][name]) for name in names})
    by_group = _table(groups["names"], groups["pool"], {name: groups["kept"][name] for name in names}) if groups["names"] else []
    html = filled("kept", lengths=lengths, median=replies["median"]["pool"], sources=by_source, groups=by_group, methods=names,
                  colour=folder.colour, overview=found)  # fmt: skip
    return Section("kept", "What was kept", "Kept", html)


def _table(names: Sequence[str], pool: Sequence[float], kept: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """A line for each name: its share of the pool, and for each method the share of its picks as a multiple of that.

    tint: how strongly the cell is coloured, from -1 (never kept) to 1 (three times as often, or more).
    """
    lines = []
    for i, (name, share) in enumerate(zip(names, pool, strict=True)):
        cells = []
        for shares_ in kept.values():
            times = shares_[i] / share if share else None
            tint = 0.0 if times is None else max(-1.0, min(1.0, (times - 1) / (2 if times > 1 else 1)))
            cells.append({"share": shares_[i], "times": times, "tint": tint})
        lines.append({"name": name, "share": share, "cells": cells})
    return lines


def _chart(folder: Folder, name: str, replies: Mapping[str, Any]) -> Any:
    import altair as alt

    edges, most = replies["edges"], 0.0
    pool, kept = _shares(replies["pool"]), _shares(replies["kept"][name])
    for counts in (replies["pool"], *replies["kept"].values()):  # one scale for all methods
        most = max(most, *_shares(counts))
    bars = [
        {"x": a, "x2": b, "pool": p, "kept": k, "text": f"{a:,.0f} to {b - 1:,.0f} tokens: pool {p:.1%}, picks {k:.1%}"}
        for a, b, p, k in zip(edges, edges[1:], pool, kept, strict=False)
    ]  # fmt: skip
    data = alt.Chart(rows(bars))
    scale = alt.Scale(type="log", domain=[edges[0], edges[-1]], nice=False)
    x = alt.X("x:Q", axis=alt.Axis(title=None, grid=False, values=round_steps(edges[0], edges[-1]), format="~s"), scale=scale)
    axis, to = alt.Axis(title=None, tickCount=2, format="%"), alt.Scale(domain=[0, most])
    y = lambda field: alt.Y(f"{field}:Q", axis=axis, scale=to)  # noqa: E731
    colour = STAND_INS[folder.colour[name]]
    return drawn(
        alt.layer(
            data.mark_rect(color=POOL).encode(x=x, x2="x2:Q", y=y("pool"), y2=alt.datum(0), description="text:N"),
            data.mark_line(color=colour, interpolate="step-after", strokeWidth=2).encode(x=x, y=y("kept")),
        ).properties(width=SMALL, height=HEIGHT),
        f"lengths of replies that {name} kept, beside those of the pool",
    )


def _shares(counts: Sequence[int]) -> list[float]:
    return [count / max(1, sum(counts)) for count in counts]
