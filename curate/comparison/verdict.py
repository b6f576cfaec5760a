"""The verdict: which selections beat random, by how much, how surely, and at what cost."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from curate.comparison.evidence import Evidence
from curate.comparison.tables import markdown_costs, markdown_table
from curate.files import output_folder
from curate.manifests import write_left_out
from curate.overview import write_overview
from curate.pool import Pool
from curate.preparation import Unusable
from curate.store import write_manifest

SCHEMA = {
    "method": pl.String, "budget": pl.String, "kind": pl.String, "of": pl.String, "task": pl.String, "metric": pl.String,
    "rows": pl.Int64,
    "mean": pl.Float64, "diff_from_random": pl.Float64, "ci_low": pl.Float64, "ci_high": pl.Float64, "p_value": pl.Float64,
    "p_holm": pl.Float64, "answer": pl.String, "in_family": pl.Boolean, "vs_matched": pl.Float64,
    "vs_matched_low": pl.Float64, "vs_matched_high": pl.Float64, "vs_matched_answer": pl.String, "seeds": pl.Int64,
    "selections": pl.Int64, "agree": pl.Float64, "agree_random": pl.Float64,
    "train_tokens": pl.Int64, "loss_tokens": pl.Int64, "epochs": pl.Float64, "steps": pl.Float64,
    "learning_rate": pl.Float64,
    "select_seconds": pl.Float64, "select_flops": pl.Float64, "train_seconds": pl.Float64, "train_flops": pl.Float64,
    "evaluate_seconds": pl.Float64, "evaluate_flops": pl.Float64, "pays_after": pl.Int64, "sdf": pl.Float64, "pir": pl.Float64,
    "efficiency": pl.Float64,
    "note": pl.String,
}  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """The result of a comparison.

    arms      one dict per method, budget and task, keys as in SCHEMA: means over seeds; loss in nats per token, lower is better;
              vs_matched is the difference from random rows with replies as long; select_* what choosing took;
              agree: how much of their picks two seeds share (`curate.stability`), agree_random what random picks would;
              sdf, pir and efficiency as the survey arXiv 2406.14115 has them, against one epoch of the whole pool
    headline  one sentence for a person in a hurry
    remarks   sentences on what the numbers rest on and what is missing
    selections  the picks of every arm: method, kind, budget, seed, row_id
    pool, unusable  the rows compared on, and those that the models cannot use
    overview  what reports show of the pool and of the first seed's picks at the largest budget (`curate.overview`)
    evidence  what every arm scored on every item, from which `conclude` judges again
    manifest  versions, models, pool, stages, and the artifacts of the store that it was made from
    """

    arms: list[dict[str, Any]]
    headline: str
    remarks: list[str]
    config: dict[str, Any]
    selections: pl.DataFrame
    manifest: dict[str, Any] = field(default_factory=dict)
    pool: Pool | None = None
    unusable: tuple[Unusable, ...] = ()
    evidence: Evidence | None = field(default=None, repr=False)
    overview: dict[str, Any] | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        return f"Verdict({self.headline!r}, {len(self.arms)} arms; .frame, .remarks, .to_markdown())"

    def _repr_html_(self) -> str:
        from curate.notebook import verdict_html

        return verdict_html(self)

    @property
    def frame(self) -> pl.DataFrame:
        """The arms as a table."""
        return pl.DataFrame(self.arms, schema=SCHEMA)

    def to_json(self) -> dict[str, Any]:
        return {"headline": self.headline, "remarks": self.remarks, "arms": self.arms, "config": self.config}

    def to_markdown(self) -> str:
        """The verdict as a Markdown page."""
        remarks = [f"- {remark}" for remark in self.remarks]
        lines = [f"**{self.headline}**", "", *markdown_table(self.arms), *remarks, "", *markdown_costs(self.arms)]
        return "\n".join(lines) + "\n"

    def write(self, out: str | Path, *, overwrite: bool = False) -> None:
        """JSON, Parquet and Markdown, picks, evidence, rows left out, manifest: a folder that appears whole or not."""
        with output_folder(out, overwrite=overwrite) as folder:
            (folder / "verdict.json").write_text(json.dumps(self.to_json(), indent=1, default=str) + "\n")
            self.frame.write_parquet(folder / "verdict.parquet")
            self.selections.write_parquet(folder / "selections.parquet")
            if self.evidence is not None:
                self.evidence.write(folder)
            if self.overview is not None:
                write_overview(folder, self.overview)
            (folder / "verdict.md").write_text(self.to_markdown())
            if self.pool is not None:
                write_left_out(self.pool, self.unusable, folder)
            write_manifest(folder / "manifest.json", self.manifest)
