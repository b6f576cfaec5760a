"""The arms of a verdict as tables for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from curate.evaluation.metrics import find_metric

COLUMNS = (
    "method", "budget", "rows", "mean", "vs random", "interval", "p (Holm)", "answer", "vs as long", "epochs", "steps",
    "loss tokens", "seeds agree",
)  # fmt: skip
COSTS = (
    "method", "budget", "select", "train", "evaluate", "select FLOPs", "train FLOPs", "evaluate FLOPs", "pays after", "SDF",
    "PIR",
)  # fmt: skip
NUMBERS = frozenset((*COLUMNS, *COSTS)) - {"method", "budget", "answer", "vs as long"}
LAST = {"full": 1, "ceiling": 2, "untrained": 3, "second rate": 4}  # kinds that stand below the others


def table_row(arm: Mapping[str, Any]) -> dict[str, str]:
    """What came of one arm as text for people, by the names in COLUMNS."""
    interval = f"{arm['ci_low']:+.3f} to {arm['ci_high']:+.3f}" if arm["ci_low"] is not None else ""
    return {
        "method": arm["method"],
        "budget": arm["budget"],
        "rows": f"{arm['rows']:,}",
        "mean": f"{arm['mean']:.3f}",
        "vs random": "" if arm["diff_from_random"] is None else f"{arm['diff_from_random']:+.3f}",
        "interval": interval,
        "p (Holm)": "" if arm["p_holm"] is None else "<0.001" if arm["p_holm"] < 0.001 else f"{arm['p_holm']:.3f}",
        "answer": arm["answer"] or "",
        "vs as long": "" if arm["vs_matched"] is None else f"{arm['vs_matched']:+.3f} {arm['vs_matched_answer']}",
        "epochs": f"{arm['epochs']:.1f}",
        "steps": f"{arm['steps']:,.0f}",
        "loss tokens": f"{arm['loss_tokens']:,}",
        "seeds agree": agreement(arm),
    }


def agreement(line: Mapping[str, Any]) -> str:
    """How much of their picks two seeds share, and behind it what random picks would; empty where nothing is made anew."""
    return "" if line["agree"] is None else f"{line['agree']:.2f} ({line['agree_random']:.2f})"


def cost_row(arm: Mapping[str, Any]) -> dict[str, str]:
    """What one arm took as text for people, by the names in COSTS."""
    return {
        "method": arm["method"],
        "budget": arm["budget"],
        "select": "" if arm["select_seconds"] is None else duration(arm["select_seconds"]),
        "train": duration(arm["train_seconds"]),
        "evaluate": "" if arm["evaluate_seconds"] is None else duration(arm["evaluate_seconds"]),
        "select FLOPs": _flops(arm["select_flops"]),
        "train FLOPs": _flops(arm["train_flops"]),
        "evaluate FLOPs": _flops(arm["evaluate_flops"]),
        "pays after": "" if arm["pays_after"] is None else f"{arm['pays_after']:,}",
        "SDF": "" if arm["sdf"] is None else f"{arm['sdf']:.3f}",
        "PIR": "" if arm["pir"] is None else f"{arm['pir']:.3f}",
    }


def _flops(number: float | None) -> str:
    return "" if number is None else f"{number:.1e}" if number else "0"


def tables(arms: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """The arms of each task under a title, in the order in which people compare them: by budget, then best first."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for arm in arms:
        found.setdefault((arm["task"], arm["metric"]), []).append(arm)
    titled = []
    for (task, metric), members in found.items():
        sign = 1 if lower_is_better(metric) else -1
        members.sort(key=lambda arm: (LAST.get(arm["kind"], 0), arm["rows"], sign * arm["mean"]))
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
    """What came of the arms as lines of Markdown, a table per task."""
    lines: list[str] = []
    for title, members in tables(arms):
        lines += [title, "", *_markdown(COLUMNS, [table_row(arm) for arm in members]), ""]
    return lines


def markdown_costs(arms: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the arms took, a mean over seeds, as lines of Markdown."""
    title = (
        "What it took, per seed. A selection that is no worse than one epoch of the whole pool pays after so many trainings on "
        "it; against random picks, which cost nothing, it can pay in quality alone. SDF: share of the pool's rows; "
        "PIR: the result as a multiple of that one epoch's, above 1 is better, the mean over evaluation sets (arXiv 2406.14115)."
    )
    _, members = tables(arms)[0]
    return [title, "", *_markdown(COSTS, [cost_row(arm) for arm in members])]


def _markdown(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> list[str]:
    rule = ["---:" if name in NUMBERS else "---" for name in columns]
    cells = [list(columns), rule, *([row[name] for name in columns] for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in cells]


def lower_is_better(metric: str) -> bool:
    """Whether a smaller value of a metric, by its name, is a better one."""
    return find_metric(metric).lower_is_better
