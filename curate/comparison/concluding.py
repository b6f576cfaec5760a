"""From evidence to a verdict: of a comparison that has just run, or of several that ran before, here or elsewhere."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from curate.asked import RECORD
from curate.budget import Budget
from curate.comparison.design import Design
from curate.comparison.evidence import Evidence, merged
from curate.comparison.judging import judge
from curate.comparison.remarks import headline, remarks
from curate.comparison.verdict import Verdict
from curate.errors import InputError
from curate.training.config import TrainConfig
from curate.versions import versions

# Models are compared by fingerprint: the same one may lie elsewhere on another machine.
MAY_DIFFER = ("seeds", "methods", "margin", "confidence", "model", "scorer_model", "matched")


def verdict_of(design: Design, evidence: Evidence, config: Mapping[str, Any], selections: pl.DataFrame, **more: Any) -> Verdict:
    """The verdict that a body of evidence supports. more: further fields of the Verdict."""
    judged = judge(design, evidence)
    return Verdict(
        judged.rows,
        headline(judged.rows, len(design.seeds), design.confidence),
        [*evidence.said, *remarks(design, evidence, judged)],
        dict(config),
        selections,
        evidence=evidence,
        **more,
    )


def conclude(
    verdicts: Sequence[str | Path] | str | Path, *, margin: float | None = None, confidence: float | None = None
) -> Verdict:
    """One verdict from those of several comparisons, without training anything: other seeds, other methods, other machines.

    verdicts    folders that `Verdict.write` made. They share the pool, models, budgets, training settings and evaluation sets;
                an arm that several hold is taken from the first. What lacks a seed that others have is left out, and said.
    margin, confidence  as for `compare`; by default those of the first.

    A single folder is judged again. Raises InputError where a folder is not a verdict's, or where what they share differs.
    """
    folders = [Path(one) for one in ([verdicts] if isinstance(verdicts, (str, Path)) else verdicts)]
    if not folders:
        raise InputError("name at least one verdict's folder")
    if margin is not None and not margin >= 0:
        raise InputError(f"the margin must be at least 0, not {margin}")
    if confidence is not None and not 0 < confidence < 1:
        raise InputError(f"the confidence must lie between 0 and 1, not {confidence}")
    configs = [_config(folder) for folder in folders]
    first = configs[0]
    for folder, config in zip(folders[1:], configs[1:], strict=True):
        for what in first:
            if what not in MAY_DIFFER and _comparable(what, first[what]) != _comparable(what, config.get(what)):
                said = f"{what.replace('_', ' ')} than {folders[0]} ({config.get(what)}, not {first[what]})"
                raise InputError(f"{folder} has other {said}: their arms cannot be compared")
    recipe = TrainConfig(**first["recipe"])
    evidence = merged([(str(folder), Evidence.read(folder, recipe)) for folder in folders])
    seeds = sorted({arm.seed for arm in evidence.results if arm.kind != "untrained"})
    design = Design(
        (),
        tuple(Budget.parse(text) for text in first["budgets"]),
        tuple(seeds),
        recipe,
        first["margin"] if margin is None else margin,
        first["confidence"] if confidence is None else confidence,
        any(arm.kind == "full" for arm in evidence.results),
        first["second_rate"],
    )
    there = {arm.method for arm in evidence.results}
    methods = [name for name in dict.fromkeys(name for config in configs for name in config["methods"]) if name in there]
    config = {**first, "seeds": seeds, "methods": methods, "margin": design.margin, "confidence": design.confidence}
    kept = {(arm.method, arm.budget, arm.seed) for arm in evidence.results}
    picks = [pl.read_parquet(folder / "selections.parquet") for folder in folders]
    selections = pl.concat(picks, how="diagonal").unique(
        ["method", "budget", "seed", "row_id"], keep="first", maintain_order=True
    )
    shown = [key in kept for key in selections.select("method", "budget", "seed").iter_rows()]
    given = {"verdicts": [str(folder.absolute()) for folder in folders], "margin": margin, "confidence": confidence}
    manifest = {
        "curate": versions(), "verdicts": [str(folder) for folder in folders], "config": config,
        "replay": {"record": RECORD, "verb": "conclude", "working_folder": str(Path.cwd()), "arguments": given},
    }  # fmt: skip
    return verdict_of(design, evidence, config, selections.filter(pl.Series(shown, dtype=pl.Boolean)), manifest=manifest)


def _config(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / "verdict.json").read_text())["config"]
    except (OSError, ValueError, KeyError):
        raise InputError(f"{folder}: not the folder of a verdict, it has no verdict.json of one") from None
    return found


def _comparable(what: str, value: Any) -> Any:
    """A setting as it must agree: the recipe's own seed is that of the first arm."""
    return {**value, "seed": None} if what == "recipe" and isinstance(value, dict) else value
