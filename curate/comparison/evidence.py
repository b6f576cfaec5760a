"""What a comparison measured: all that its answers rest on, kept in the verdict's folder so that it can be judged again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curate.comparison.arms import Arm, ArmResult, Kind
from curate.comparison.choosing import Cost
from curate.errors import InputError
from curate.evaluation.metric import Metric
from curate.evaluation.metrics import find_metric
from curate.training.config import TrainConfig
from curate.wording import counted

CHOSEN = ("random", "control", "method", "length-matched")  # kinds of arms that train on a selection of rows
ITEM = ("task", "row_id", "source", "weight")
FOLDER = "evidence"


@dataclass(frozen=True)
class Measure:
    """An evaluation set by its name, and what is measured on it."""

    name: str
    metric: str

    @property
    def how(self) -> Metric:
        """The metric itself."""
        return find_metric(self.metric)


@dataclass(frozen=True)
class Evidence:
    """What a comparison measured.

    measures      the evaluation sets, the primary one first.
    rows          how many the pool has.
    results       what came of each arm.
    costs         what choosing took, by method, budget and seed.
    fingerprints  of what all arms share: models, rows of the pool, and what they are evaluated on.
    said          remarks on what was compared, such as rows that were left out.
    """

    measures: tuple[Measure, ...]
    rows: int
    results: Mapping[Arm, ArmResult]
    costs: Mapping[tuple[str, str, int], Cost] = field(default_factory=dict)
    fingerprints: Mapping[str, Any] = field(default_factory=dict)
    said: tuple[str, ...] = ()

    def with_results(self, more: Mapping[Arm, ArmResult]) -> "Evidence":
        """The same with further arms."""
        return replace(self, results={**self.results, **more})

    def cost(self, method: str, budget: str) -> Cost:
        """What choosing by a method took, a mean over seeds; nothing for what does not choose."""
        found = [cost for key, cost in self.costs.items() if key[:2] == (method, budget)]
        return Cost.mean(found) if found else Cost()

    def items(self) -> pl.DataFrame:
        """The evaluation items of all sets: task, row_id, source, weight."""
        return next(iter(self.results.values())).items.select(ITEM)

    def write(self, folder: Path) -> None:
        """evidence.json, items.parquet (a row per item) and arms.parquet (a row per arm: its name, account, and the value of
        every item). The picks of arms are the verdict's selections.parquet."""
        (folder / FOLDER).mkdir()
        about = {
            "measures": [[measure.name, measure.metric] for measure in self.measures],
            "rows": self.rows,
            "fingerprints": dict(self.fingerprints),
            "said": list(self.said),
        }
        (folder / FOLDER / "evidence.json").write_text(json.dumps(about, indent=1) + "\n")
        self.items().write_parquet(folder / FOLDER / "items.parquet")
        lines = []
        for arm, result in self.results.items():
            cost = self.costs.get((arm.method, arm.budget, arm.seed))
            chosen = {} if cost is None else {"select_seconds": cost.seconds, "select_flops": cost.flops}
            names = {"method": arm.method, "budget": arm.budget, "seed": arm.seed, "kind": arm.kind, "of": arm.of}
            account = {name: float(number) for name, number in result.account.items()}
            lines.append({**names, **account, **chosen, "values": result.items["value"].to_list()})
        pl.DataFrame(lines, infer_schema_length=None).write_parquet(folder / FOLDER / "arms.parquet")

    @classmethod
    def read(cls, verdict: Path, recipe: TrainConfig) -> "Evidence":
        """What `write` and the selections of a verdict's folder hold; `recipe` is that of its arms.

        InputError where the folder is not that of a verdict with evidence.
        """
        folder = verdict / FOLDER
        try:
            about = json.loads((folder / "evidence.json").read_text())
            items, lines = pl.read_parquet(folder / "items.parquet"), pl.read_parquet(folder / "arms.parquet")
            positions = _positions(pl.read_parquet(verdict / "selections.parquet"))
        except (OSError, ValueError, pl.exceptions.PolarsError) as error:
            raise InputError(f"{verdict}: not the folder of a verdict that can be concluded from: {error}") from None
        results, costs = {}, {}
        for line in lines.iter_rows(named=True):
            names = {name: line.pop(name) for name in ("method", "budget", "seed", "kind", "of")}
            values, seconds, flops = line.pop("values"), line.pop("select_seconds", None), line.pop("select_flops", None)
            arm = _arm(names, positions, about["rows"], recipe)
            account = {name: number for name, number in line.items() if number is not None}
            results[arm] = ArmResult(account, items.with_columns(pl.Series("value", values, dtype=pl.Float64)))
            if seconds is not None:
                costs[arm.method, arm.budget, arm.seed] = Cost(seconds, flops)
        measures = tuple(Measure(name, metric) for name, metric in about["measures"])
        return cls(measures, about["rows"], results, costs, about["fingerprints"], tuple(about["said"]))


def _positions(selections: pl.DataFrame) -> dict[tuple[str, str, int], tuple[int, ...]]:
    """The picks of each method, budget and seed as numbers that stand for their row ids, the same in all folders; ascending."""
    coded = selections.with_columns(pl.col("row_id").hash().reinterpret(signed=True).alias("code"))
    groups = coded.group_by("method", "budget", "seed", maintain_order=True).agg(pl.col("code").sort())
    return {(method, budget, seed): tuple(codes) for method, budget, seed, codes in groups.iter_rows()}


def _arm(names: dict[str, Any], positions: Mapping[tuple[str, str, int], tuple[int, ...]], rows: int, recipe: TrainConfig) -> Arm:
    kind: Kind = names["kind"]
    if kind in ("full", "ceiling"):
        index = tuple(range(rows))
    else:
        name = names["of"] if kind == "second rate" else names["method"]
        index = positions.get((name, names["budget"], names["seed"]), ())
    return Arm(**names, positions=index, recipe=None if kind == "untrained" else recipe)


def merged(found: Sequence[tuple[str, Evidence]]) -> Evidence:
    """One body of evidence from several, each with the name that errors and remarks have for it.

    They hold arms of the same rows, models, evaluation sets and training settings; seeds and methods may differ. An arm that
    several have is taken from the first, and how far they lie apart is said. Arms of a method and budget that are not there
    for every seed are left out, and said. Raises InputError where the rest differs.
    """
    first_name, first = found[0]
    results, costs = dict(first.results), dict(first.costs)
    known = {_key(arm): arm for arm in results}
    items, apart, twice = first.items(), 0.0, 0
    for name, other in found[1:]:
        for what in ("measures", "rows"):
            if getattr(first, what) != getattr(other, what):
                raise InputError(f"{name} has other {what} than {first_name}: their arms cannot be compared")
        for what in {**first.fingerprints, **other.fingerprints}:
            if first.fingerprints.get(what) != other.fingerprints.get(what):
                raise InputError(f"{name} has another {what} than {first_name}: their arms cannot be compared")
        if not items.equals(other.items()):
            raise InputError(f"{name} was evaluated on other rows than {first_name}: their arms cannot be compared")
        for arm, result in other.results.items():
            if arm.kind == "untrained" and any(mine.kind == "untrained" for mine in results):
                continue
            if _key(arm) in known:
                twice += 1
                mine = results[known[_key(arm)]].items["value"].to_numpy()
                apart = max(apart, float(np.abs(mine - result.items["value"].to_numpy()).max(initial=0)))
                continue
            known[_key(arm)] = arm
            results[arm] = result
        costs |= {key: cost for key, cost in other.costs.items() if key not in costs}
    said = list(dict.fromkeys(remark for _, evidence in found for remark in evidence.said))
    if twice:
        measured = f"{counted(twice, 'arm')} measured more than once, of which the first counts"
        said.append(f"{measured}; an item's values lie at most {apart:.2g} apart.")
    kept, left_out = _complete(results)
    return replace(first, results=kept, costs=costs, said=(*said, *left_out))


def _key(arm: Arm) -> tuple[str, str, int]:
    return arm.method, arm.budget, arm.seed


def _complete(results: Mapping[Arm, ArmResult]) -> tuple[dict[Arm, ArmResult], list[str]]:
    """The arms of the methods and budgets that have one for every seed, by seed, and a sentence on the others."""
    seeds = sorted({arm.seed for arm in results if arm.kind != "untrained"})
    there: dict[tuple[str, str], set[int]] = {}
    for arm in results:
        there.setdefault((arm.method, arm.budget), set()).add(arm.seed)
    lacking = {
        f"{arm.method} at {arm.budget}": sorted(set(seeds) - there[arm.method, arm.budget])
        for arm in results
        if arm.kind != "untrained" and there[arm.method, arm.budget] < set(seeds)
    }
    kept = [arm for arm in results if f"{arm.method} at {arm.budget}" not in lacking]
    said = [
        f"{name} left out: it was not run for {'seed' if len(missing) == 1 else 'seeds'} {', '.join(map(str, missing))}."
        for name, missing in lacking.items()
    ]
    order = list(dict.fromkeys((arm.method, arm.budget) for arm in kept))
    kept.sort(key=lambda arm: (order.index((arm.method, arm.budget)), arm.seed))
    return {arm: results[arm] for arm in kept}, said
