"""The verdict: which selections beat random, by how much, how surely, and at what cost."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from curate.evaluation.metrics import find_metric
from curate.files import output_folder
from curate.manifests import write_left_out
from curate.pool import Pool
from curate.preparation import Unusable
from curate.store import write_manifest

SCHEMA = {
    "method": pl.String, "budget": pl.String, "task": pl.String, "metric": pl.String, "rows": pl.Int64, "mean": pl.Float64,
    "diff_from_random": pl.Float64, "ci_low": pl.Float64, "ci_high": pl.Float64, "p_value": pl.Float64,
    "p_holm": pl.Float64, "answer": pl.String, "seeds": pl.Int64, "train_tokens": pl.Int64, "loss_tokens": pl.Int64,
    "epochs": pl.Float64, "select_seconds": pl.Float64, "train_seconds": pl.Float64, "in_family": pl.Boolean,
    "selections": pl.Int64, "note": pl.String,
}  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """The result of a comparison.

    arms      one dict per method, budget and task, keys as in SCHEMA; loss in nats per token, lower is better
    headline  one sentence for a person in a hurry
    remarks   sentences on what the numbers rest on and what is missing
    selections  the picks of every arm: method, budget, seed, row_id
    pool, unusable  the rows compared on, and those that the models cannot use
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

    @property
    def frame(self) -> pl.DataFrame:
        """The arms as a table."""
        return pl.DataFrame(self.arms, schema=SCHEMA)

    def to_json(self) -> dict[str, Any]:
        return {"headline": self.headline, "remarks": self.remarks, "arms": self.arms, "config": self.config}

    def to_markdown(self) -> str:
        """The verdict as a Markdown page."""
        lines = [f"**{self.headline}**", "", *markdown_table(self.arms), "", *(f"- {remark}" for remark in self.remarks)]
        return "\n".join(lines) + "\n"

    def write(self, out: str | Path, *, overwrite: bool = False) -> None:
        """The verdict as JSON, Parquet and Markdown, picks, rows left out, manifest: a folder that appears whole or not."""
        with output_folder(out, overwrite=overwrite) as folder:
            (folder / "verdict.json").write_text(json.dumps(self.to_json(), indent=1, default=str) + "\n")
            self.frame.write_parquet(folder / "verdict.parquet")
            self.selections.write_parquet(folder / "selections.parquet")
            (folder / "verdict.md").write_text(self.to_markdown())
            if self.pool is not None:
                write_left_out(self.pool, self.unusable, folder)
            write_manifest(folder / "manifest.json", self.manifest)


COLUMNS = ("method", "budget", "rows", "mean", "vs random", "95% interval", "p (Holm)", "answer", "epochs", "select", "train")
NUMBERS = frozenset(COLUMNS) - {"method", "budget", "answer"}


def table_row(arm: Mapping[str, Any]) -> dict[str, str]:
    """One arm as text for people, by the names in COLUMNS."""
    tested = arm["diff_from_random"] is not None
    interval = f"{arm['ci_low']:+.3f} to {arm['ci_high']:+.3f}" if arm["ci_low"] is not None else ""
    return {
        "method": arm["method"],
        "budget": arm["budget"],
        "rows": f"{arm['rows']:,}",
        "mean": f"{arm['mean']:.3f}",
        "vs random": f"{arm['diff_from_random']:+.3f}" if tested else "",
        "95% interval": interval,
        "p (Holm)": "" if arm["p_holm"] is None else "<0.001" if arm["p_holm"] < 0.001 else f"{arm['p_holm']:.3f}",
        "answer": arm["answer"] or "",
        "epochs": f"{arm['epochs']:.1f}",
        "select": duration(arm["select_seconds"]),
        "train": duration(arm["train_seconds"]),
    }


def tables(arms: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """The arms of each task under a title, in the order in which people compare them: by budget, then best first."""
    last = {"full": 1, "full, 1 epoch": 2, "untrained": 3}
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for arm in arms:
        found.setdefault((arm["task"], arm["metric"]), []).append(arm)
    titled = []
    for (task, metric), members in found.items():
        sign = 1 if lower_is_better(metric) else -1
        members.sort(key=lambda arm: (last.get(arm["method"], 0), arm["rows"], sign * arm["mean"]))
        titled.append((f"{metric.replace('_', ' ')} on {task} ({find_metric(metric).wording})", members))
    return titled


def duration(seconds: float) -> str:
    """Seconds as a person writes them: 0.4 s, 12 s, 3 min, 2.1 h."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def markdown_table(arms: Sequence[Mapping[str, Any]]) -> list[str]:
    """The arms as lines of Markdown, a table per task."""
    lines: list[str] = []
    for title, members in tables(arms):
        rule = ["---:" if name in NUMBERS else "---" for name in COLUMNS]
        rows = [list(table_row(arm).values()) for arm in members]
        lines += [title, "", *("| " + " | ".join(cells) + " |" for cells in (list(COLUMNS), rule, *rows)), ""]
    return lines


def headline(arms: Sequence[Mapping[str, Any]], seeds: int) -> str:
    """What a newcomer should take away, in one sentence."""
    tested = [arm for arm in arms if arm["in_family"] and arm["method"] != "full"]
    better = sorted((arm for arm in tested if arm["answer"] == "better"), key=lambda arm: arm["diff_from_random"] * _sign(arm))
    if better:
        best = better[0]
        others = f" (so do {len(better) - 1} other arms)" if len(better) > 1 else ""
        return (
            f"{best['method']} at {best['budget']} beats random: {_metric(best)} {best['mean']:.3f}, "
            f"{abs(best['diff_from_random']):.3f} {'lower' if _sign(best) > 0 else 'higher'} than random at equal training "
            f"tokens (95% interval {best['ci_low']:+.3f} to {best['ci_high']:+.3f}){others}."
        )
    groups = [
        f"{text} {', '.join(arm['method'] + ' at ' + arm['budget'] for arm in tested if arm['answer'] == answer)}"
        for answer, text in (("worse", "worse:"), ("equivalent", "equivalent:"), ("undecided", "undecided:"))
        if any(arm["answer"] == answer for arm in tested)
    ]
    undecided = any(arm["answer"] == "undecided" for arm in tested)
    start = "No selection is shown to beat random" if undecided else "Use random: no selection beats it"
    return f"{start} at equal training tokens over {_seeds(seeds)} ({'; '.join(groups)})." if groups else f"{start}."


def _seeds(seeds: int) -> str:
    return "one seed" if seeds == 1 else f"{seeds} seeds"


def _sign(arm: Mapping[str, Any]) -> int:
    return 1 if lower_is_better(arm["metric"]) else -1


def _metric(arm: Mapping[str, Any]) -> str:
    return "held-out loss" if arm["metric"] == "response_loss" else arm["metric"].replace("_", " ")


def lower_is_better(metric: str) -> bool:
    return find_metric(metric).lower_is_better
