"""How alike the methods are."""

from collections.abc import Sequence
from typing import Any

from curate.report.page.charts import INK, STAND_INS, drawn, rows
from curate.report.page.colours import ordered
from curate.report.page.folder import Folder
from curate.report.page.render import Section, filled
from curate.report.page.text import plain

CELL = 40
LABELS = 130


def section(folder: Folder) -> Section | None:
    """Two matrices: the share of rows that two methods both picked, and how alike they rank rows."""
    found = (folder.overview or {}).get("likeness")
    if not found or not (found["picks"] or found["ranks"]):
        return None
    common = [
        [a, b, value, f"{a} and {b}: {value:.2f} of their picks in common, random picks {chance:.2f}"]
        for a, b, value, chance in found["picks"]
    ]
    ranked = [[a, b, tau, f"{a} and {b}: Kendall's tau {tau:+.2f}"] for a, b, tau in found["ranks"]]
    chances = [chance for *_, chance in found["picks"]]
    html = filled(
        "likeness",
        picks=_matrix(common, "Jaccard index of picks", "{:.2f}") if common else None,
        ranks=_matrix(ranked, "Kendall's tau", "{:+.2f}") if ranked else None,
        chance=(min(chances), max(chances)) if chances else None,
        ranked=found["ranked"],
        rows=(folder.overview or {})["rows"],
    )
    return Section("likeness", "How alike the methods are", "Likeness", html)


def _matrix(lines: Sequence[Sequence[Any]], said: str, form: str) -> Any:
    """The lower triangle of a matrix; positive values in one colour, negative ones in another, by how large they are."""
    import altair as alt

    names = ordered([name for a, b, *_ in lines for name in (a, b)])
    cells = []
    for a, b, value, text in lines:
        row, column = sorted((a, b), key=names.index, reverse=True)
        sign = "less" if value < 0 else "more"
        cells.append(
            {"row": row, "column": column, "strength": abs(value), "sign": sign, "value": form.format(value), "text": text}
        )
    clean = [plain(name) for name in names]
    axis: dict[str, Any] = {"title": None, "grid": False, "labelLimit": LABELS}
    base = alt.Chart(rows(cells)).encode(
        x=alt.X("column:N", scale=alt.Scale(domain=clean[:-1]), axis=alt.Axis(labelAngle=-45, **axis)),
        y=alt.Y("row:N", scale=alt.Scale(domain=clean[1:]), axis=alt.Axis(**axis)),
    )
    colour = alt.Color("sign:N", scale=alt.Scale(domain=["more", "less"], range=[STAND_INS["c0"], STAND_INS["c1"]]))
    strength = alt.Opacity("strength:Q", scale=alt.Scale(domain=[0, 1], range=[0.04, 0.85]))
    size = min(CELL, round(240 / max(1, len(names) - 1)))
    return drawn(
        alt.layer(
            base.mark_rect(cornerRadius=3).encode(color=colour, opacity=strength, description="text:N"),
            base.mark_text(color=INK, fontSize=11 if size > 28 else 9).encode(text="value:N"),
        ).properties(width=alt.Step(size), height=alt.Step(min(size, 34))),
        said,
    )
