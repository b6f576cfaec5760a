"""Cost against gain: what choosing and training took, and how far below or above random the result is."""

from collections.abc import Mapping, Sequence
from typing import Any

from curate.comparison.tables import COSTS, cost_row, duration, lower_is_better
from curate.report.page.charts import MUTED, figure, method_colour, rows
from curate.report.page.colours import ordered
from curate.report.page.folder import Folder
from curate.report.page.render import Section, filled
from curate.report.page.scales import beyond, reach, round_steps

LEAST = 0.01  # seconds; less is drawn as this on the logarithmic axis


def section(folder: Folder) -> Section | None:
    """A point for each selection, and the table of what everything took."""
    tested = [arm for arm in folder.chosen if arm["ci_low"] is not None]
    if not tested:
        return None
    name = str(tested[0]["metric"]).replace("_", " ")
    points, far = [_point(arm) for arm in tested], reach(tested)
    low, high = min(0.0, *(point["low"] for point in points)), max(0.0, *(point["high"] for point in points))
    domain = [max(-far, low), min(far, high)]
    chart = figure(lambda width: _chart(folder, points, name, domain, width), "gain over random against seconds for each method")
    took = [cost_row(arm) for arm in folder.primary]
    html = filled(
        "gain",
        chart=chart,
        columns=[column for column in COSTS if any(row[column] for row in took)],
        took=took,
        methods=ordered([arm["method"] for arm in tested]),
        colour=folder.colour,
        several=len(folder.budgets) > 1,
        outside=beyond(tested),
    )
    return Section("gain", "Cost and gain", "Cost", html)


def _point(arm: Mapping[str, Any]) -> dict[str, Any]:
    """x, seconds; y and its interval, the gain over random: above 0 is better, whatever the metric."""
    sign = -1 if lower_is_better(arm["metric"]) else 1
    low, high = sorted((sign * arm["ci_low"], sign * arm["ci_high"]))
    choose, train = arm["select_seconds"] or 0.0, arm["train_seconds"] or 0.0
    gain = sign * arm["diff_from_random"]
    said = f"{arm['method']} at {arm['budget']}: {gain:+.3f}, {duration(choose)} to choose and {duration(train)} to train"
    seconds = max(LEAST, choose + train)
    return {"method": arm["method"], "x": seconds, "y": gain, "low": low, "high": high, "rows": arm["rows"], "text": said}


def _chart(folder: Folder, points: Sequence[Mapping[str, Any]], name: str, domain: Sequence[float], width: int) -> Any:
    import altair as alt

    arms, colour = alt.Chart(rows(points)), method_colour(folder.colour)
    zero = alt.Chart(rows([{"zero": 0}])).mark_rule(color=MUTED, strokeDash=[5, 4], strokeWidth=1.5)
    seconds = [point["x"] for point in points]
    first, last = min(seconds) / 1.5, max(seconds) * 1.5
    axis = alt.Axis(title="seconds to choose and to train", grid=False, values=round_steps(first, last), format="~g")
    x = alt.X("x:Q", scale=alt.Scale(type="log", nice=False, domain=[first, last]), axis=axis)
    title, scale = f"gain over random ({name})", alt.Scale(domain=list(domain))
    y = lambda field: alt.Y(f"{field}:Q", title=title, axis=alt.Axis(format="+"), scale=scale)  # noqa: E731
    largest = max(point["rows"] for point in points)
    size = alt.Size("rows:Q", scale=alt.Scale(domain=[0, largest], range=[20, 140]))
    bars = arms.mark_rule(strokeWidth=1.5, opacity=0.5, clip=True).encode(y=y("low"), y2="high:Q")
    dots = arms.mark_point(filled=True, opacity=1, clip=True).encode(y=y("y"), size=size)
    drawn = [part.encode(x=x, color=colour, description="text:N") for part in (bars, dots)]
    return alt.layer(zero.encode(y="zero:Q"), *drawn).properties(width=width - 70, height=300)
