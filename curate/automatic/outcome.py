"""What came of a search: which method at which budget, or random, or that it is undecided; and all that it rests on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import polars as pl

from curate.comparison.verdict import Verdict
from curate.errors import InputError
from curate.files import output_folder
from curate.selection import Selection
from curate.store import write_manifest

Answer = Literal["method", "random", "undecided"]
FILE = "auto.json"
SCHEMA = {
    "rung": pl.Int64, "method": pl.String, "budget": pl.String, "seeds": pl.Int64, "tokens": pl.Int64, "value": pl.Float64,
    "diff": pl.Float64, "ci_low": pl.Float64, "ci_high": pl.Float64, "kept": pl.Boolean, "cut": pl.Float64, "reason": pl.String,
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """The result of `curate.auto`. Everything but the confirmation, the picks and the manifest is in auto.json as it is here.

    answer     method: the winner beats random on items that it was not picked by. random: it is confirmed to be no better.
               undecided: neither is shown.
    sentence   what a person should take away.
    remarks    sentences on what it rests on, and where it is undecided what it would take.
    winner     {method, budget} of the arm that came out of the halving; None where none did.
    use        {method, budget} of what to train on: the winner, or random; None where it is undecided.
    metric     {name, task, wording, lower_is_better} of the halving.
    rungs      one dict for each rung: rung (from 1), seeds (the numbers), tokens of each training, items, cut (the value of the
               last arm that went on; None where all did), interval ("items" with one seed, else "seeds and items"), predicted and
               took (in the unit of the spend), and standings: a list, best first, then random at each budget, of
               {method, budget, value, diff, ci_low, ci_high, kept, reason}. value: the mean of the metric. diff: value less
               that of random at the same budget, with its 95% interval. kept: None for random, which is never ranked.
    discarded  every arm that fell, in the order in which they did: {method, budget, rung, reason}, and rung's value, diff,
               ci_low, ci_high and cut; rung 0: it was not tried, the spend is too small for it.
    tested     of the confirmation: {method, budget, task, metric, seeds, tokens, items, mean, random, diff, ci_low, ci_high,
               p_value, answer, vs_matched, vs_matched_low, vs_matched_high, vs_matched_answer}; None where there was none.
    spend      {asked, unit, spent, parts: [{what, seconds, flops, predicted}]}; asked, spent and predicted in the unit.
    plan       the schedule as it was laid out before anything ran: methods, refused, scoring, rungs, confirmation.
    config     what was asked.
    """

    answer: Answer
    sentence: str
    remarks: list[str]
    winner: dict[str, str] | None
    use: dict[str, str] | None
    metric: dict[str, Any]
    rungs: list[dict[str, Any]]
    discarded: list[dict[str, Any]]
    tested: dict[str, Any] | None
    spend: dict[str, Any]
    plan: dict[str, Any]
    config: dict[str, Any]
    confirmation: Verdict | None = field(default=None, repr=False)
    picked: Selection | None = field(default=None, repr=False)
    manifest: dict[str, Any] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        return f"Outcome({self.sentence!r}, {len(self.rungs)} rungs; .frame, .confirmation, .picked)"

    @property
    def frame(self) -> pl.DataFrame:
        """A row for each arm on each rung, random included."""
        lines = [
            {**{name: rung[name] for name in ("rung", "tokens", "cut")}, "seeds": len(rung["seeds"]), **standing}
            for rung in self.rungs
            for standing in rung["standings"]
        ]
        return pl.DataFrame(lines, schema=SCHEMA)

    def to_dict(self) -> dict[str, Any]:
        """What auto.json holds."""
        return {name: getattr(self, name) for name in _SAVED}

    def save(self, out: str | Path, *, overwrite: bool = False) -> None:
        """auto.json, ladder.parquet (`frame`), confirmation/ as `curate compare` writes it, picked/ as `curate select` does,
        and the manifest: a folder that appears whole or not at all."""
        with output_folder(out, overwrite=overwrite) as folder:
            (folder / FILE).write_text(json.dumps(self.to_dict(), indent=1, default=str) + "\n")
            self.frame.write_parquet(folder / "ladder.parquet")
            if self.confirmation is not None:
                self.confirmation.write(folder / "confirmation")
            if self.picked is not None:
                self.picked.write(folder / "picked")
            write_manifest(folder / "manifest.json", self.manifest)

    @classmethod
    def load(cls, folder: str | Path) -> "Outcome":
        """What `save` wrote, without the confirmation's own verdict and the picks, which lie beside it.

        InputError where the folder is not that of an outcome.
        """
        path = Path(folder) / FILE
        try:
            found: Mapping[str, Any] = json.loads(path.read_text())
            return cls(**{name: found[name] for name in _SAVED})
        except (OSError, ValueError, LookupError, TypeError):
            raise InputError(f"{folder}: not the folder of a search, it has no {FILE} of one") from None


_SAVED = (
    "answer", "sentence", "remarks", "winner", "use", "metric", "rungs", "discarded", "tested", "spend", "plan", "config",
)  # fmt: skip
