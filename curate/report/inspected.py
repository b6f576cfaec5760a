"""An inspection on a terminal, or in a log: nothing depends on colour alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from curate.report.diversity import show_diversity
from curate.report.inspection import NEAR, NEAR_ROWS, REASONING_ROWS, Example, Inspection
from curate.report.table import printable, show_table
from curate.wording import account_of, counted

SHOWN_SOURCES = 30
SHOWN_CHARACTERS = 1500  # of an example
DETAIL = 80  # characters of a problem's detail
OPEN, CLOSE = "⟦", "⟧"  # around what is learned
_BAR = 20


def show_inspection(console: Console, found: Inspection) -> None:
    """The inspection on a terminal."""
    s = found.summary
    console.print(Text(account_of(s)))
    if s["rows_written"] > s["rows_pool"]:
        console.print(Text(f"repeats: the {counted(s['rows_pool'])} are written and trained on as {s['rows_written']:,}"))
    console.print(Text(f"shape: {', '.join(f'{shape} {rows:,}' for shape, rows in s['shapes'].items())}{_shapeless(s)}"))
    columns = (f"tokens ({s['tokenizer']})", "5%", "median", "95%", "most", "in all")
    spreads = (("a row", s["tokens"]), ("its replies", s["response_tokens"]))
    lines = [[name, *(f"{spread[key]:,.0f}" for key in ("p5", "median", "p95", "max", "total"))] for name, spread in spreads]
    console.print(show_table("\nlengths", columns, lines, right=columns[1:]))
    if s["rows_truncated"]:
        cut = "1 row is" if s["rows_truncated"] == 1 else f"{s['rows_truncated']:,} rows are"
        console.print(Text(f"{cut} cut to {s['max_length']:,} tokens", style="yellow"))
    if s["problems"]:
        at = s["problems_at"]
        files = {place["file"] for places in at.values() for place in places}
        short = len({Path(file).name for file in files}) == len(files)
        problems = [(reason, f"{count:,}", _where(at[reason], count, short)) for reason, count in s["problems"].items()]
        console.print(show_table("\nproblems", ("reason", "rows", "where"), problems, right=("rows",)))
    if s["reasoning"] and s["reasoning"]["dropped"]:
        console.print(Text("\n" + _reasoning(s), style="yellow"))
    if s["rows_weighted"]:
        said = f"weights: {counted(s['rows_weighted'])} with replies that count otherwise than once in the loss of trainings"
        console.print(Text(f"\n{said}"))
    _show_sources(console, s["sources"], s["near_duplicates"] is not None, s["rows_written"] > s["rows_pool"])
    _show_duplicates(console, s)
    if s["diversity"]:
        show_diversity(console, s["diversity"])
    for number, example in enumerate(found.examples, 1):
        console.print()
        console.print(_panel(number, example))
    if found.examples:
        legend = Text.assemble("what is learned from is ", (f"{OPEN}green and in brackets{CLOSE}", "green"), "; the rest is read")
        console.print(legend, style="dim")


def _shapeless(s: Mapping[str, Any]) -> str:
    """That shapes are of the rows that were read and kept, where others came in."""
    kept = sum(s["shapes"].values())
    return f" (of the {counted(kept)} that could be read and are kept)" if kept < s["rows_in"] else ""


def _show_sources(console: Console, sources: Mapping[str, Mapping[str, Any]], near: bool, repeated: bool) -> None:
    more = [(name, key) for name, key, shown in (("near", "near_duplicates", near), ("written", "written", repeated)) if shown]
    columns = ["source", "rows", "", "tokens", "median", "reply", *(name for name, _ in more)]
    most = max(source["rows"] for source in sources.values())
    lines = []
    for name, source in list(sources.items())[:SHOWN_SOURCES]:
        bar = Text("━" * max(1, round(_BAR * source["rows"] / most)), style="cyan")
        medians = [f"{source[key]:.0f}" for key in ("median_tokens", "median_response_tokens")]
        others = [f"{source[key]:,}" for _, key in more]
        lines.append([name, f"{source['rows']:,}", bar, f"{source['tokens']:,}", *medians, *others])
    console.print(show_table("\nsources", columns, lines, right=[column for column in columns if column not in ("source", "")]))
    if len(sources) > SHOWN_SOURCES:
        console.print(Text(f"and {len(sources) - SHOWN_SOURCES:,} smaller ones", style="dim"))


def _show_duplicates(console: Console, s: Mapping[str, Any]) -> None:
    near = s["near_duplicates"]
    if near and near["rows"]:
        rows, share = near["rows"], near["rows"] / s["rows_pool"]
        console.print(
            f"\nnear-duplicates: {rows:,} ({share:.1%}), as near as {near['similarity']} to a row that would stay; "
            f"--near-duplicates {near['similarity']} leaves them out", highlight=False,
        )  # fmt: skip
    elif s["rows_pool"] > NEAR_ROWS and not s["rows_near_duplicate"]:
        limit = f"\nnear-duplicates are not counted above {NEAR_ROWS:,} rows; --near-duplicates {NEAR} looks"
        console.print(limit, highlight=False)
    if s["overlaps"]:
        columns = ("evaluation set", "rows", "replies shared", "prompts shared", "left out")
        lines = []
        for one in s["overlaps"]:
            shares = (f"{one[key]:,} ({one[key] / one['rows']:.1%})" for key in ("replies", "prompts"))
            lines.append([Path(one["name"]).name, f"{one['rows']:,}", *shares, f"{one['pool_rows']:,}"])
        title = "\noverlap (rows of the set that the pool shares, and pool rows left out for it)"
        console.print(show_table(title, columns, lines, right=columns[1:]))


def _where(places: Sequence[Mapping[str, Any]], count: int, short: bool) -> Text:
    """The files with their lines, and the detail of the first: `pool.jsonl:4, 9, …: 'bot' in message 2`.

    short: files without their folders.
    """
    lines: dict[str, list[str]] = {}
    for place in places:
        lines.setdefault(Path(place["file"]).name if short else place["file"], []).append(str(place["line"]))
    named = ", ".join(f"{file}:{', '.join(numbers)}" for file, numbers in lines.items())
    more = ", …" if count > len(places) else ""
    detail = places[0]["detail"]
    said = "" if detail is None else f": {detail if len(detail) <= DETAIL else detail[: DETAIL - 1] + '…'}"
    return Text(printable(" ".join(f"{named}{more}{said}".split())), overflow="fold")


def _reasoning(s: Mapping[str, Any]) -> str:
    found = s["reasoning"]
    some = f" (of the first {found['rows']:,} rows that have any)" if found["rows"] >= REASONING_ROWS else ""
    return (
        f"reasoning: the chat template of {s['tokenizer']} drops that of {found['dropped']:,} of "
        f"{found['replies']:,} {'reply' if found['replies'] == 1 else 'replies'}{some}; it is neither read nor learned"
    )


def _panel(number: int, example: Example) -> Panel:
    text, left = Text(), SHOWN_CHARACTERS
    pieces = [(printable(piece), weight) for piece, weight in example.pieces]
    pieces[-1] = pieces[-1][0].rstrip(), pieces[-1][1]
    for piece, weight in pieces:
        shown = piece[:left]
        left -= len(shown)
        if shown:
            times = "" if weight in (0, 1) else f" ×{weight:g}"
            text.append(f"{OPEN}{shown}{CLOSE}{times}" if weight else shown, style="green" if weight else "dim")
    cut = sum(len(piece) for piece, _ in pieces) - SHOWN_CHARACTERS
    if cut > 0:
        text.append(f" ... and {counted(cut, 'character')}", style="italic")
    title = Text(f"example {number} · {printable(example.source or '(no source)')}", style="bold")
    return Panel(text, title=title, title_align="left", subtitle=Text(example.row_id, style="dim"), subtitle_align="right",
                 border_style="dim")  # fmt: skip
