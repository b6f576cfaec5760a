"""The metric against the budget: every method with its interval, random as a band."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from curate.comparison.judging import item_weights
from curate.comparison.tables import lower_is_better
from curate.report.page.charts import MUTED, POOL, figure, method_colour, rows
from curate.report.page.colours import ordered
from curate.report.page.folder import Folder
from curate.report.page.render import Section, filled
from curate.report.page.scales import beyond, reach

SPREAD = 0.36  # of the way from one budget to the next that the methods at one share


def section(folder: Folder) -> Section | None:
    """A curve for each method; None where there is one budget (`against` is for that)."""
    budgets = folder.budgets
    tested = [arm for arm in folder.chosen if arm["ci_low"] is not None]
    if len(budgets) < 2 or not tested:
        return None
    random = {arm["budget"]: arm["mean"] for arm in folder.chosen if arm["kind"] == "random"}
    metric, seeds = str(tested[0]["metric"]), _per_seed(folder)
    name = metric.replace("_", " ")
    points, band = _points(tested, random, budgets), _band(random, seeds, budgets)
    far, outside = reach(tested), beyond(tested)
    ends = [end for point in band for end in (point["low"], point["high"], point["y"] - far, point["y"] + far)]
    shown = [end for point in points for end in (point["low"], point["high"])]
    domain = [max(min(ends), min(shown + ends[:2])), min(max(ends), max(shown + ends[:2]))]
    chart = figure(
        lambda width: _chart(folder, points, band, name, domain, width),
        f"{name} by budget for each method, with intervals; the grey band is random",
    )
    html = filled(
        "budgets",
        chart=chart,
        methods=ordered([arm["method"] for arm in tested]),
        colour=folder.colour,
        lower=lower_is_better(metric),
        band=bool(seeds),
        outside=outside,
        task=tested[0]["task"],
        name=name,
        confidence=folder.confidence,
    )
    return Section("budgets", "By budget", "By budget", html)


def _points(tested: Sequence[Mapping[str, Any]], random: Mapping[str, float], budgets: Sequence[str]) -> list[dict[str, Any]]:
    """A point for each arm: x, the place of its budget, methods beside each other; y, its mean; its interval about random's."""
    methods = ordered([arm["method"] for arm in tested])
    step = SPREAD / max(1, len(methods) - 1)
    start = SPREAD / 2 if len(methods) > 1 else 0.0
    found = []
    for arm in tested:
        centre = random[arm["budget"]]
        said = f"{arm['method']} at {arm['budget']}: {arm['mean']:.3f}, {arm['diff_from_random']:+.3f} from random"
        found.append(
            {
                "method": arm["method"],
                "x": budgets.index(arm["budget"]) - start + step * methods.index(arm["method"]),
                "y": arm["mean"],
                "low": centre + arm["ci_low"],
                "high": centre + arm["ci_high"],
                "text": f"{said} ({arm['answer']})",
            }
        )
    return found


def _per_seed(folder: Folder) -> dict[str, list[float]]:
    """The primary metric of random picks by budget, a number for each seed; empty without the evidence."""
    evidence = folder.evidence
    found: dict[str, list[float]] = {}
    for arm, result in evidence.results.items() if evidence is not None else ():
        if arm.kind == "random":
            task = evidence.measures[0]  # type: ignore[union-attr]
            found.setdefault(arm.budget, []).append(float(result.values(task.name) @ item_weights(task, result)[0]))
    return found


def _band(random: Mapping[str, float], seeds: Mapping[str, list[float]], budgets: Sequence[str]) -> list[dict[str, float]]:
    """Random at each budget and a little beyond: its mean, and its lowest and highest seed."""
    places = [(-0.3, budgets[0]), *enumerate(budgets), (len(budgets) - 0.7, budgets[-1])]
    found = []
    for x, budget in places:
        of = seeds.get(budget, [random[budget]])
        found.append({"x": x, "y": random[budget], "low": min(of), "high": max(of)})
    return found


def _chart(
    folder: Folder,
    points: Sequence[Mapping[str, Any]],
    band: Sequence[Mapping[str, Any]],
    name: str,
    domain: Sequence[float],
    width: int,
) -> Any:
    import altair as alt

    budgets = folder.budgets
    labels = f"{json.dumps(budgets)}[datum.value]"
    axis = alt.Axis(values=list(range(len(budgets))), labelExpr=labels, title="budget", grid=False)
    x = alt.X("x:Q", axis=axis, scale=alt.Scale(domain=[-0.4, len(budgets) - 0.6], nice=False))
    y = lambda field: alt.Y(f"{field}:Q", title=name, scale=alt.Scale(domain=list(domain), clamp=False))  # noqa: E731
    random, arms, colour = alt.Chart(rows(band)), alt.Chart(rows(points)), method_colour(folder.colour)
    return alt.layer(
        random.mark_area(color=POOL, opacity=0.55).encode(x=x, y=y("low"), y2="high:Q"),
        random.mark_line(color=MUTED, strokeWidth=1.5, strokeDash=[5, 4]).encode(x=x, y=y("y")),
        arms.mark_line(strokeWidth=1.5, opacity=0.55, clip=True).encode(x=x, y=y("y"), color=colour),
        arms.mark_rule(strokeWidth=2, clip=True).encode(x=x, y=y("low"), y2="high:Q", color=colour, description="text:N"),
        arms.mark_point(filled=True, size=60, opacity=1, clip=True).encode(x=x, y=y("y"), color=colour, description="text:N"),
    ).properties(width=width - 70, height=340 if width > 400 else 300)
