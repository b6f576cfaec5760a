"""From results to answers: every arm's difference from random, how sure it is, and what it cost."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from curate.comparison.arms import Arm, ArmResult, Kind
from curate.comparison.choosing import Cost
from curate.comparison.design import Design
from curate.comparison.evidence import CHOSEN, Evidence, Measure
from curate.comparison.statistics import Difference, answer, holm, paired_difference, weights_by_source
from curate.comparison.tables import lower_is_better
from curate.costs import break_even, efficiency, improvement, mapped_improvement, share
from curate.evaluation.metrics import find_metric
from curate.stability import jaccard_by_chance, mean_jaccard
from curate.wording import known

Row = dict[str, Any]


@dataclass(frozen=True)
class Group:
    """The arms of one name and budget, one for each seed, with what came of them."""

    arms: tuple[Arm, ...]
    results: tuple[ArmResult, ...]

    @property
    def key(self) -> tuple[str, str]:
        return self.arms[0].method, self.arms[0].budget

    @property
    def kind(self) -> Kind:
        return self.arms[0].kind

    def values(self, task: str) -> np.ndarray:
        """float64 [seeds, items]: the metric of a task."""
        return np.stack([result.values(task) for result in self.results])

    def mean(self, name: str) -> float | None:
        """The mean over seeds of a number of their accounts; None where one does not have it."""
        found = [result.account.get(name) for result in self.results]
        return None if any(number is None for number in found) else float(np.mean(found))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Judged:
    """rows: the verdict's arms. differences: from random, of the primary task, by method and budget. leaders: the method and
    budget of the arms that are to be held against random rows of the same lengths. winner: the best of those called better."""

    rows: list[Row]
    differences: Mapping[tuple[str, str], Difference]
    leaders: tuple[tuple[str, str], ...]
    winner: tuple[str, str] | None


def judge(design: Design, evidence: Evidence) -> Judged:
    """The answers of all arms that have results so far; the first task is the primary one, on which the tests are made."""
    members: dict[tuple[str, str], list[tuple[Arm, ArmResult]]] = {}
    for arm, result in evidence.results.items():
        members.setdefault((arm.method, arm.budget), []).append((arm, result))
    groups = {key: Group(*(tuple(part) for part in zip(*found, strict=True))) for key, found in members.items()}
    rows: list[Row] = []
    differences: dict[tuple[str, str], Difference] = {}
    for task in evidence.measures:
        table = _Table(design, evidence, groups, task)
        if task is evidence.measures[0]:
            table.decide()
            differences = table.differences
        rows += table.rows.values()
    _indicate(rows, evidence.rows)
    primary = [row for row in rows if row["task"] == evidence.measures[0].name]
    sign = 1 if lower_is_better(evidence.measures[0].metric) else -1
    better = sorted(
        (row for row in primary if row["answer"] == "better" and row["kind"] in ("method", "control")),
        key=lambda row: sign * row["diff_from_random"],
    )
    winner = (better[0]["method"], better[0]["budget"]) if better else None
    return Judged(rows, differences, _leaders(primary, sign), winner)


def _indicate(rows: Sequence[Row], pool: int) -> None:
    """Puts the survey's indicators (arXiv 2406.14115) into the rows of what was chosen: SDF in rows; PIR, the mean over tasks of
    the result over that of training on everything for one epoch; the efficiency where all tasks are scored by shares."""
    ceiling = {row["task"]: row["mean"] for row in rows if row["kind"] == "ceiling"}
    for row in rows:
        row.update(sdf=None, pir=None, efficiency=None)
        if row["kind"] not in CHOSEN:
            continue
        row["sdf"] = share(row["rows"], pool)
        if ceiling:
            tasks = [other for other in rows if (other["method"], other["budget"]) == (row["method"], row["budget"])]
            how = [find_metric(other["metric"]) for other in tasks]
            lower = [metric.lower_is_better for metric in how]
            found = [metric.figure(other["mean"]) for metric, other in zip(how, tasks, strict=True)]
            full = [metric.figure(ceiling[other["task"]]) for metric, other in zip(how, tasks, strict=True)]
            row["pir"] = improvement(found, full, lower_is_better=lower)
            if not any(lower):
                row["efficiency"] = efficiency(row["sdf"], mapped_improvement(row["pir"], same_benchmark=False))


def _leaders(rows: Sequence[Row], sign: int) -> tuple[tuple[str, str], ...]:
    """At each budget the arm with the best mean, and all that are called better."""
    found: dict[tuple[str, str], None] = {}
    chosen = [row for row in rows if row["kind"] in ("method", "control")]
    for budget in dict.fromkeys(row["budget"] for row in chosen):
        here = sorted((row for row in chosen if row["budget"] == budget), key=lambda row: sign * row["mean"])
        for row in [here[0], *(row for row in here if row["answer"] == "better")]:
            found[row["method"], budget] = None
    return tuple(found)


class _Table:
    """The arms on one task."""

    def __init__(self, design: Design, evidence: Evidence, groups: Mapping[tuple[str, str], Group], task: Measure) -> None:
        self.design, self.evidence, self.groups, self.task = design, evidence, groups, task
        self.weights, self.strata = item_weights(task, next(iter(groups.values())).results[0])
        self.flat = flat(task, [result for group in groups.values() for result in group.results]) is not None
        self.differences: dict[tuple[str, str], Difference] = {}
        self.rows: dict[tuple[str, str], Row] = {}
        for key, group in groups.items():
            against = self._control(group)
            if against is not None:
                self.differences[key] = self.difference(group, against)
            self.rows[key] = self._row(group)

    def difference(self, group: Group, control: Group) -> Difference:
        return paired_difference(
            group.values(self.task.name),
            control.values(self.task.name),
            self.weights,
            self.strata,
            confidence=self.design.confidence,
        )

    def _control(self, group: Group) -> Group | None:
        """The random arms that a group is held against: of its budget and learning rate, for `full` of the largest budget."""
        budget = group.arms[0].budget
        if group.kind in ("random", "ceiling", "untrained"):
            return None
        if group.kind == "full":
            most = max(self.design.budgets, key=lambda b: len(self.groups["random", str(b)].arms[0].positions))
            return self.groups["random", str(most)]
        if group.kind == "second rate":
            again = [g for g in self.groups.values() if g.kind == "second rate" and g.arms[0].of == "random"]
            return None if group in again else next(g for g in again if g.arms[0].budget == budget)
        return self.groups["random", budget]

    def _row(self, group: Group) -> Row:
        method, budget = group.key
        difference = self.differences.get(group.key)
        chosen = self.evidence.cost(method, budget)
        return {
            "method": method,
            "budget": budget,
            "kind": group.kind,
            "of": group.arms[0].of,
            "task": self.task.name,
            "metric": self.task.metric,
            "rows": len(group.arms[0].positions),
            "mean": self._value(group),
            "diff_from_random": _number(difference, "mean"),
            "ci_low": _number(difference, "ci_low"),
            "ci_high": _number(difference, "ci_high"),
            "p_value": _number(difference, "p_value"),
            "p_holm": None,
            "answer": None,
            "vs_matched": None,
            "vs_matched_low": None,
            "vs_matched_high": None,
            "vs_matched_answer": None,
            "seeds": len(group.arms),
            "selections": len({arm.positions for arm in group.arms}),
            **self._agreement(group),
            "train_tokens": _whole(group.mean("tokens")),
            "loss_tokens": _whole(group.mean("loss_tokens")),
            "epochs": group.mean("epochs"),
            "steps": group.mean("steps"),
            "learning_rate": group.mean("learning_rate"),
            "select_seconds": known(chosen.seconds),
            "select_flops": known(chosen.flops),
            "train_seconds": group.mean("seconds"),
            "train_flops": group.mean("flops"),
            "evaluate_seconds": group.mean("evaluate_seconds"),
            "evaluate_flops": group.mean("evaluate_flops"),
            "pays_after": self._pays_after(group, chosen),
            "in_family": False,
            "note": "an unmatched ceiling, outside the tests" if group.kind == "ceiling" else None,
        }

    def _agreement(self, group: Group) -> Row:
        """How much of their picks two seeds share, and what random picks of these sizes would; null for what is not made anew."""
        picks = [np.array(arm.positions) for arm in group.arms]
        if group.kind not in CHOSEN or len({arm.positions for arm in group.arms}) == 1:
            return {"agree": None, "agree_random": None}
        by_chance = jaccard_by_chance([len(positions) for positions in picks], self.evidence.rows)
        return {"agree": mean_jaccard(picks), "agree_random": by_chance}

    def _pays_after(self, group: Group, chosen: Cost) -> int | None:
        """How many trainings on a selection make up for choosing it, against training on everything for one epoch each time.

        None where no number does, where nothing was chosen or what that took is not known, and where it is worse than
        everything: that saves nothing.
        """
        ceiling = next((g for g in self.groups.values() if g.kind == "ceiling"), None)
        if group.kind not in ("control", "method") or ceiling is None or math.isnan(chosen.flops):
            return None
        trained, everything = group.mean("flops"), ceiling.mean("flops")
        worse = self._value(group) - self._value(ceiling)
        if (worse if lower_is_better(self.task.metric) else -worse) > 0 or trained is None or everything is None:
            return None
        return break_even(selection=chosen.flops, on_selection=trained, without=everything)

    def _value(self, group: Group) -> float:
        """The task's mean over seeds."""
        return float((group.values(self.task.name) @ self.weights).mean())

    def decide(self) -> None:
        """The answers: Holm over all arms against random; the leaders against their length-matched random, and the winner at the
        second learning rate, each as one of all the selections that it was picked from."""
        family = [key for key, group in self.groups.items() if group.kind in ("method", "control", "full")]
        for key, word, p in self._answers({key: self.differences[key] for key in family}):
            self.rows[key].update(answer=word, p_holm=p, in_family=True)
        # What is tried again was picked for how it came out, so all that it was picked from counts.
        among = sum(self.groups[key].kind != "full" for key in family)
        again = {key: d for key, d in self.differences.items() if self.groups[key].kind == "second rate"}
        for key, word, _ in self._answers(again, among):
            self.rows[key].update(answer=word)
        matched = {
            (group.arms[0].of or "", group.arms[0].budget): group
            for group in self.groups.values()
            if group.kind == "length-matched"
        }
        against = {key: self.difference(self.groups[key], group) for key, group in matched.items()}
        for key, word, _ in self._answers(against, among):
            found = {name: _number(against[key], name) for name in ("mean", "ci_low", "ci_high")}
            self.rows[key].update(
                vs_matched=found["mean"],
                vs_matched_low=found["ci_low"],
                vs_matched_high=found["ci_high"],
                vs_matched_answer=word,
            )

    def _answers(
        self, family: Mapping[tuple[str, str], Difference], among: int = 0
    ) -> Iterable[tuple[tuple[str, str], str, float | None]]:
        """(arm, answer, Holm's p-value) of each difference in a family of tests, picked from so many."""
        adjusted = holm([difference.p_value for difference in family.values()], among=among)
        for (key, difference), p in zip(family.items(), adjusted, strict=True):
            # The margin is a share of the control's value; where values lie between 0 and 1, of that range.
            scale = 1.0 if self.task.how.bounded else abs(self.rows[key]["mean"] - difference.mean)
            word = answer(
                difference,
                p,
                margin=self.design.margin * scale,
                lower_is_better=lower_is_better(self.task.metric),
                alpha=self.design.alpha,
            )
            # Where no item tells any two arms apart, being equal says nothing.
            yield key, "undecided" if self.flat else word, None if np.isnan(p) else float(p)


def item_weights(task: Measure, result: ArmResult) -> tuple[np.ndarray, np.ndarray]:
    """The weight of each item in the task's mean, float64 [I], and the source that it was drawn from."""
    items = result.items.filter(pl.col("task") == task.name)
    strata = np.array(items["source"].fill_null("").to_list(), dtype=object)
    return weights_by_source(items["weight"].to_numpy(), strata), strata


def flat(task: Measure, results: Sequence[ArmResult]) -> float | None:
    """The value that every arm has on every item of a task; None where they differ."""
    values = np.unique(np.concatenate([result.values(task.name) for result in results]))
    return float(values[0]) if len(values) == 1 else None


def _number(difference: Difference | None, name: str) -> float | None:
    value = None if difference is None else getattr(difference, name)
    return None if value is None or np.isnan(value) else float(value)


def _whole(number: float | None) -> int | None:
    return None if number is None else round(number)
