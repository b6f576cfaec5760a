"""What a person in a hurry should take away."""

import re
from typing import Any

from curate.report.page.folder import Folder
from curate.report.page.render import Section, filled
from curate.wording import counted

_DETAIL = re.compile(r"^(?P<said>[^()]*?) \((?P<detail>(?:better|worse|equivalent|undecided): .*)\)\.$")


def section(folder: Folder) -> Section | None:
    """The verdict in one sentence, and what it was measured on; of a selection or scores, what was read and picked."""
    said, detail, mood = _verdict(folder.verdict) if folder.verdict else _selection(folder)
    facts = _facts(folder)
    short = "Verdict" if folder.verdict else "In short"
    return Section("verdict", "", short, filled("summary", said=said, detail=detail, mood=mood, facts=facts))


def _verdict(verdict: dict[str, Any]) -> tuple[str, str, str]:
    headline = str(verdict["headline"])
    mood = "better" if " beats random:" in headline else "open"
    parts = _DETAIL.match(headline)
    if parts:
        return f"{parts['said']}.", parts["detail"].replace("; ", " · "), mood
    said, colon, detail = headline.partition(" beats random: ")
    return (f"{said} beats random.", detail[:1].upper() + detail[1:], mood) if colon else (headline, "", mood)


def _selection(folder: Folder) -> tuple[str, str, str]:
    found = folder.overview
    if not found:
        return "A run of curate.", "", "plain"
    picks, rows = found["picks"], counted(found["rows"], "conversation")
    if len(picks) == 1:
        [(name, kept)] = picks.items()
        return f"{name} picked {kept:,} of {rows}.", "", "plain"
    return f"{counted(len(found['methods']), 'method')} looked at {rows}.", ", ".join(found["methods"]), "plain"


def _facts(folder: Folder) -> list[tuple[str, str]]:
    facts: list[tuple[str, str]] = []
    if folder.verdict is not None:
        config, arms = folder.verdict["config"], folder.verdict["arms"]
        facts += [("model", config["model"]), ("seeds", str(len(config["seeds"]))), ("budgets", ", ".join(config["budgets"]))]
        facts.append(("training", f"{config['train_tokens']:,} tokens an arm"))
        facts.append(("pool", counted(config["pool_rows"])))
        facts.append(("evaluated on", ", ".join(dict.fromkeys(arm["task"] for arm in arms))))
    elif folder.overview is not None:
        facts.append(("pool", counted(folder.overview["rows"])))
        model = (folder.manifest or {}).get("model") or {}
        facts += [("model", str(model["name"]).rpartition("/")[2])] if "name" in model else []
        facts += [("budget", folder.overview["budget"])] if folder.overview["budget"] else []
        facts.append(("seed", str(folder.overview["seed"])))
    return facts
