"""A search as a terminal shows it: the answer, the ladder, the test, and what was spent on what."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from curate.automatic.outcome import Outcome
from curate.automatic.spend import Spend
from curate.comparison.tables import duration
from curate.report.table import printable, show_table
from curate.report.terminal import ANSWER_STYLE
from curate.wording import counted

BORDER = {"method": "green", "random": "cyan", "undecided": "yellow"}
FATE = {True: ("goes on", "green"), False: ("falls", "red"), None: ("reference", "dim")}


def show_outcome(outcome: Outcome, out: Path | None = None) -> RenderableType:
    """The sentence in a panel, a table for each rung, the confirmation, the spend, and what the answer rests on."""
    shown: list[RenderableType] = [Panel(Text(printable(outcome.sentence), style="bold"), border_style=BORDER[outcome.answer])]
    if outcome.rungs:
        shown.append(
            Text(f"The ladder: {printable(outcome.metric['name'].replace('_', ' '))} ({outcome.metric['wording']})", "dim")
        )
    shown += [_rung(rung, last=number == len(outcome.rungs)) for number, rung in enumerate(outcome.rungs, start=1)]
    untried = [line for line in outcome.discarded if line["value"] is None]
    for reason in dict.fromkeys(line["reason"] for line in untried):
        names = ", ".join(f"{line['method']} at {line['budget']}" for line in untried if line["reason"] == reason)
        shown.append(Text(printable(f"Not tried: {names} ({reason})"), style="yellow"))
    if outcome.tested is not None:
        shown.append(_tested(outcome.tested))
    shown += [_spent(outcome.spend), Text("")]
    shown += [Text(printable(f"· {remark}"), style="dim") for remark in outcome.remarks]
    if outcome.use is not None and out is not None:
        shown += [Text(f"train on this: {printable(str(out / 'picked'))}", style="bold")]
    return Group(*shown)


def _rung(rung: Mapping[str, Any], *, last: bool) -> RenderableType:
    ranked = [line for line in rung["standings"] if line["kept"] is not None]
    title = (
        f"Rung {rung['rung']}: {rung['tokens']:,} tokens, {counted(len(rung['seeds']), 'seed')}, {counted(rung['items'], 'item')}"
    )
    rows = []
    for line in rung["standings"]:
        word, style = FATE[line["kept"]]
        if last and line["kept"] and len(ranked) > 1:
            word = "wins"
        rows.append([line["method"], line["budget"], f"{line['value']:.3f}", _against(line), Text(word, style=style)])
    return show_table(f"\n{title}", ("method", "budget", "mean", "vs random", ""), rows, right=("budget", "mean", "vs random"))


def _against(line: Mapping[str, Any]) -> str:
    if line["diff"] is None:
        return ""
    half = "" if line["ci_low"] is None else f" ±{(line['ci_high'] - line['ci_low']) / 2:.3f}"
    return f"{line['diff']:+.3f}{half}"


def _tested(tested: Mapping[str, Any]) -> RenderableType:
    seeds, items = counted(tested["seeds"], "fresh seed"), counted(tested["items"], "fresh item")
    title = f"Confirmation: {tested['tokens']:,} tokens, {seeds}, {items}"
    of = f"{tested['method']} at {tested['budget']}"
    against = [("random", "diff", "ci", "answer")]
    if tested["vs_matched"] is not None:
        against.append(("random rows as long", "vs_matched", "vs_matched", "vs_matched_answer"))
    rows = []
    for name, mean, ends, answer in against:
        half = ""
        if tested[f"{ends}_low"] is not None:
            half = f" ±{(tested[f'{ends}_high'] - tested[f'{ends}_low']) / 2:.3f}"
        word = tested[answer] or ""
        rows.append([of, name, f"{tested[mean]:+.3f}{half}", Text(word, style=ANSWER_STYLE.get(word, ""))])
    return show_table(f"\n{title}", ("", "against", "difference", "answer"), rows, right=("difference",))


def _spent(spend: Mapping[str, Any]) -> RenderableType:
    asked = Spend(spend["asked"], spend["unit"])
    title = f"\nSpent {asked.say(spend['spent'])} of {asked}"
    rows = [
        [part["what"], duration(part["seconds"]), f"{part['flops']:.1e}" if part["flops"] else "",
         "" if part["predicted"] is None else asked.say(part["predicted"])]
        for part in spend["parts"]
    ]  # fmt: skip
    return show_table(title, ("on", "time", "FLOPs", "predicted"), rows, right=("time", "FLOPs", "predicted"))
