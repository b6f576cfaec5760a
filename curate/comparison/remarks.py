"""What a verdict says in sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from curate.comparison.arms import Arm, ArmResult
from curate.comparison.design import Design
from curate.comparison.evidence import Evidence
from curate.comparison.judging import Judged, flat
from curate.comparison.power import enough_seeds, what_it_would_take
from curate.comparison.tables import agreement, lower_is_better
from curate.wording import counted

Row = Mapping[str, Any]
IN_COMMON = 0.5  # share of rows beyond which a length-matched control is hardly another choice


def headline(rows: Sequence[Row], seeds: int, confidence: float = 0.95) -> str:
    """What a newcomer should take away, in one sentence or two."""
    tested = [row for row in rows if row["in_family"] and row["kind"] != "full"]
    better = sorted((row for row in tested if row["answer"] == "better"), key=lambda row: row["diff_from_random"] * _sign(row))
    if better:
        best = better[0]
        more = len(better) - 1
        others = f" (so {'does' if more == 1 else 'do'} {counted(more, 'other arm')})" if more else ""
        return (
            f"{best['method']} at {best['budget']} beats random: {_metric(best)} {best['mean']:.3f}, "
            f"{abs(best['diff_from_random']):.3f} {'lower' if _sign(best) > 0 else 'higher'} than random at equal training "
            f"tokens ({confidence:.0%} interval {best['ci_low']:+.3f} to {best['ci_high']:+.3f}){others}."
            f"{_against_matched(best)}{_at_second_rate(best, rows)}"
        )
    groups = [
        f"{answer}: {', '.join(_arm(row) for row in tested if row['answer'] == answer)}"
        for answer in ("worse", "equivalent", "undecided")
        if any(row["answer"] == answer for row in tested)
    ]
    undecided = any(row["answer"] == "undecided" for row in tested)
    start = "No selection is shown to beat random" if undecided else "Use random: no selection beats it"
    over = "one seed" if seeds == 1 else f"{seeds} seeds"
    return f"{start} at equal training tokens over {over} ({'; '.join(groups)})." if groups else f"{start}."


def _against_matched(best: Row) -> str:
    if best["vs_matched_answer"] is None:
        return ""
    also = {"better": "It also beats", "worse": "But it is worse than", "equivalent": "But it is no better than"}
    start = also.get(best["vs_matched_answer"], "It is not shown to beat")
    return f" {start} random rows with replies as long ({best['vs_matched']:+.3f})."


def _at_second_rate(best: Row, rows: Sequence[Row]) -> str:
    same = lambda row: all(row[name] == best[name] for name in ("task", "budget"))  # noqa: E731
    again = [row for row in rows if row["kind"] == "second rate" and row["of"] == best["method"] and row["answer"] and same(row)]
    if not again:
        return ""
    row = again[0]
    held = {"better": "It held", "worse": "It turned round", "equivalent": "It did not hold"}
    start, rate = held.get(row["answer"], "It was not confirmed"), row["method"].rpartition(" ")[2]
    return f" {start} at a second learning rate, {rate} ({row['diff_from_random']:+.3f})."


def remarks(design: Design, evidence: Evidence, judged: Judged) -> list[str]:
    """What the numbers rest on, what they hold for, and what is missing."""
    task, results = evidence.measures[0], evidence.results
    items = len(next(iter(results.values())).values(task.name))
    primary = [row for row in judged.rows if row["task"] == task.name]
    family = [row for row in primary if row["in_family"]]
    said = [
        f"Every arm trained on about {design.recipe.tokens:,} tokens; the difference from random is paired over "
        f"{counted(len(design.seeds), 'seed')} and {counted(items, 'evaluation item')}.",
        f"p-values are Holm's over {counted(len(family), 'test')}: the difference from random of each selection at each budget"
        f"{', and of the whole pool at equal tokens from random at the largest budget' if design.full else ''}, in "
        f"{task.metric.replace('_', ' ')} on {task.name}. Intervals ({1 - design.alpha:.0%}) are of each difference by "
        "itself, so one may exclude 0 where the answer is undecided.",
    ]
    for each in evidence.measures:
        value = flat(each, list(results.values()))
        if value is not None:
            said.append(f"Every arm has the value {value:g} on every item of {each.name}: this set cannot tell arms apart.")
    few = enough_seeds(len(design.seeds), len(family), alpha=design.alpha)
    if few is not None:
        said.append(few)
    once = sorted({row["method"] for row in family if row["selections"] == 1 and row["kind"] != "full"})
    if once and len(design.seeds) > 1:
        said.append(f"{', '.join(once)}: one selection for all seeds, so its answer holds for that selection.")
    anew = [row for row in family if row["agree"] is not None]
    if anew:
        shares = ", ".join(f"{_arm(row)} {agreement(row)}" for row in anew)
        said.append(f"Of the rows that two seeds pick, the share that both do (random picks of that size): {shares}.")
    said += _in_common(results)
    takes: dict[str, list[str]] = {}
    for row in family:
        if row["answer"] == "undecided":
            difference = judged.differences[row["method"], row["budget"]]
            takes.setdefault(what_it_would_take(difference, alpha=design.alpha, family=len(family)), []).append(_arm(row))
    return [*said, *(f"{', '.join(arms)}: {sentence}" for sentence, arms in takes.items())]


def _in_common(results: Mapping[Arm, ArmResult]) -> list[str]:
    """Where a method takes nearly all rows of its lengths, random rows of these lengths are nearly its own."""
    picks = {(arm.method, arm.budget, arm.seed): set(arm.positions) for arm in results}
    shares: dict[str, list[float]] = {}
    for arm in results:
        if arm.kind == "length-matched" and arm.of is not None:
            own = picks[arm.of, arm.budget, arm.seed]
            shares.setdefault(f"{arm.of} at {arm.budget}", []).append(len(own & set(arm.positions)) / len(own))
    return [
        f"{name} shares {np.mean(found):.0%} of its rows with random rows as long: that control can hardly differ from it."
        for name, found in shares.items()
        if np.mean(found) > IN_COMMON
    ]


def _arm(row: Row) -> str:
    return f"{row['method']} at {row['budget']}"


def _sign(row: Row) -> int:
    return 1 if lower_is_better(row["metric"]) else -1


def _metric(row: Row) -> str:
    return "held-out loss" if row["metric"] == "response_loss" else row["metric"].replace("_", " ")
