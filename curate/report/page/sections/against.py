"""At the only budget: how far each method lies from random."""

from collections.abc import Mapping, Sequence
from typing import Any

from curate.comparison.tables import lower_is_better
from curate.report.page.charts import INK, MUTED, figure, method_colour, rows
from curate.report.page.folder import Folder
from curate.report.page.render import Section, filled
from curate.report.page.scales import beyond, reach
from curate.report.page.text import plain


def section(folder: Folder) -> Section | None:
    """The differences with their intervals, the best first; None where there are several budgets (`budgets` is for that)."""
    tested = [arm for arm in folder.chosen if arm["ci_low"] is not None]
    if len(folder.budgets) != 1 or not tested:
        return None
    name = str(tested[0]["metric"]).replace("_", " ")
    chart = figure(
        lambda width: _chart(folder, tested, name, width),
        f"difference from random in {name} for each method, with intervals",
    )
    about = {"lower": lower_is_better(tested[0]["metric"]), "task": tested[0]["task"], "confidence": folder.confidence}
    html = filled("against", chart=chart, outside=beyond(tested), **about)
    return Section("budgets", "Against random", "Against random", html)


def _chart(folder: Folder, tested: Sequence[Mapping[str, Any]], name: str, width: int) -> Any:
    import altair as alt

    far = reach(tested)
    low, high = (end([0.0, *(arm[side] for arm in tested)]) for end, side in ((min, "ci_low"), (max, "ci_high")))
    scale = alt.Scale(domain=[max(-far, low), min(far, high)])
    points = [
        {
            "method": arm["method"],
            "x": arm["diff_from_random"],
            "low": arm["ci_low"],
            "high": arm["ci_high"],
            "text": f"{arm['method']}: {arm['diff_from_random']:+.3f} ({arm['ci_low']:+.3f} to {arm['ci_high']:+.3f})",
        }
        for arm in tested
    ]
    axis = alt.Axis(title=None, grid=False, labelColor=INK, labelFontSize=13)
    y = alt.Y("method:N", sort=[plain(arm["method"]) for arm in tested], axis=axis)
    x = lambda field: alt.X(f"{field}:Q", axis=alt.Axis(title=f"difference from random ({name})", format="+"), scale=scale)  # noqa: E731
    arms, colour = alt.Chart(rows(points)), method_colour(folder.colour)
    zero = alt.Chart(rows([{"zero": 0}])).mark_rule(color=MUTED, strokeDash=[5, 4], strokeWidth=1.5)
    return alt.layer(
        zero.encode(x="zero:Q"),
        arms.mark_rule(strokeWidth=2.5, clip=True).encode(x=x("low"), x2="high:Q", y=y, color=colour, description="text:N"),
        arms.mark_point(filled=True, size=80, opacity=1, clip=True).encode(x=x("x"), y=y, color=colour, description="text:N"),
    ).properties(width=width - 130, height=alt.Step(34))
