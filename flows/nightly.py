"""The nightly flow: a recipe's night, with what it decided as artifacts. It takes plain values, so that it can be deployed."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.runtime import flow_run

from curate.comparison.tables import table_row
from curate.nightly import Night, NightlyRecipe, read_nightly, replaced, run_night
from curate.nightly.night import NightFailed
from curate.progress import shown_on
from curate.recipe import find_recipe
from flows.progress import ProgressArtifact
from flows.verbs import make_engine


def key_of(recipe: str, what: str) -> str:
    """The key of an artifact: of one key Prefect shows the history, so each recipe has its own."""
    return re.sub(r"[^a-z0-9]+", "-", f"{Path(recipe).stem}-{what}".lower()).strip("-")


def _run_name() -> str:
    return f"a night of {Path(flow_run.parameters['recipe']).stem}"


@flow(name="nightly", flow_run_name=_run_name, persist_result=False)
def nightly(
    recipe: str,
    state: str | None = None,
    pool: list[str] | None = None,
    evals: list[str] | None = None,
    model: str | None = None,
    engine: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Run one night of a recipe, or go on with one that was killed; returns its decision.

    recipe  a YAML file, or the name of one that ships. state, pool, evals, model: in place of what it names.
    engine  options of `curate.Engine`, `store` as a path.
    """
    asked = replaced(read_nightly(find_recipe(recipe)), pool=pool or (), evals=evals or (), model=model, state=state)
    try:
        with shown_on(ProgressArtifact(key_of(recipe, "progress"))):
            night = run_night(asked, engine=make_engine(engine or {}))
    except NightFailed as error:
        create_markdown_artifact(failure(error), key=key_of(recipe, "decision"), description=f"failed at {error.artifact}")
        raise
    show(recipe, asked, night)
    return night.decision


def show(name: str, recipe: NightlyRecipe, night: Night) -> None:
    """Leave what a night decided as artifacts."""
    decision = night.decision
    create_markdown_artifact(described(decision), key=key_of(name, "decision"), description=headline(decision))
    create_table_artifact(counts(decision), key=key_of(name, "rows"), description=f"what {night.name} read and computed")
    if night.verdict is not None:
        arms, said = night.verdict.arms, night.verdict.headline
        create_table_artifact([table_row(arm) for arm in arms], key=key_of(name, "verdict-table"), description=said)
        create_markdown_artifact(night.verdict.to_markdown(), key=key_of(name, "verdict"), description=said)
    files = [night.folder / name for name in ("verdict/report.html", "verdict/verdict.md", "decision.json")]
    report = next(file for file in files if file.is_file())
    create_link_artifact(
        report.resolve().as_uri(), str(report), key=key_of(name, "report"), description=f"the night {night.name}"
    )


def headline(decision: Mapping[str, Any]) -> str:
    """One line: promoted or not, and why."""
    return f"{'promoted' if decision['promoted'] else 'not promoted'}: {decision['reason']}"


def described(decision: Mapping[str, Any]) -> str:
    """The decision for a person."""
    word = "Promoted" if decision["promoted"] else "Not promoted"
    lines = [f"# {word}", "", f"{decision['reason'].capitalize()}.", ""]
    if test := decision.get("test"):
        bound = "unknown" if test["low"] is None else f"{test['low']:+.4f}"
        rows = [
            ("test", f"{test['test']}, against the selection of {test['against']}"),
            ("gate set", test["gate"]),
            ("level of this test", f"{test['level']:.2g} ({test['spending']}, of alpha {test['alpha']:g})"),
            ("better than accepted by", f"{test['gain']:+.4f}"),
            ("lower bound of that", f"{bound}; promoted when above 0"),
            ("p-value, one-sided", "unknown" if test["p_value"] is None else f"{test['p_value']:.2g}"),
        ]
        lines += ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), "", decision["verdict"], ""]
    lines += [f"- {note}" for note in decision.get("notes", [])]
    return "\n".join(lines) + "\n"


def counts(decision: Mapping[str, Any]) -> list[dict[str, str]]:
    """What came, what was computed and what was chosen, for a table."""
    names = {
        "rows_read": "rows read", "rows_new": "rows new", "rows_gone": "rows gone", "rows_chosen_from": "rows chosen from",
        "rows_forwarded": "rows newly forwarded", "rows_reused": "rows read from the store",
        "tokens_forwarded": "tokens newly forwarded", "tokens_trained_to_score": "tokens trained on in order to score",
        "rows_selected": "rows in the candidate", "rows_kept": "of these kept from the accepted selection",
    }  # fmt: skip
    found = [{"what": said, "number": f"{decision[name]:,}"} for name, said in names.items() if name in decision]
    files: Sequence[str] = decision["new_files"]
    return [*found, {"what": "new files", "number": ", ".join(Path(file).name for file in files) or "none"}]


def failure(error: NightFailed) -> str:
    """A failed night for a person."""
    return f"# Failed\n\nWhat is accepted stays, and the next night begins anew.\n\n    {error}\n"
