"""Which rows each arm trains on."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from curate.answers import Seen
from curate.comparison.arms import Arm, Kind
from curate.comparison.design import CONTROLS, Design, Setup
from curate.errors import InputError
from curate.jobs import Job
from curate.method import Method
from curate.preparation import Prepared, choose, signal, within
from curate.registry import label
from curate.requests import TokenWeights
from curate.selectors.matched import matched
from curate.selectors.picks import Picks


@dataclass(frozen=True)
class Cost:
    """What something took: seconds of wall time, and FLOPs; NaN where that is not known."""

    seconds: float = 0.0
    flops: float = 0.0


@dataclass(frozen=True)
class Chosen:
    """The arms of a comparison's first round, and what it took to choose by each method, mean over seeds."""

    arms: list[Arm]
    costs: Mapping[str, Cost]


Chose = tuple[tuple[int, ...], TokenWeights | None]  # positions, ascending, and what their tokens count


def choose_all(setup: Setup) -> Chosen:
    """The arms of every method, budget and seed, of the whole pool, and of no training.

    What draws or trains something is chosen anew for each seed. Raises InputError when a method picks nothing.
    """
    design, prepared, engine = setup.design, setup.prepared, setup.bench.engine
    spent: dict[str, list[Cost]] = {}
    arms: list[Arm] = []
    for seed in design.seeds:
        here = replace(prepared, data=replace(prepared.data, seed=seed))
        seen = engine.gather([method for method in design.methods if not method.by_budget], here.data)
        apart = {
            (method, budget): (limited, engine.gather([method], limited.data))
            for method in design.methods
            if method.by_budget
            for budget in design.budgets
            for limited in [within(here, method, budget)]
        }

        def pick(method: Method, here: Prepared = here, seen: Seen = seen, apart: Any = apart) -> list[Chose]:
            if method.by_budget:
                own = [apart[method, budget] for budget in design.budgets]
                found = [signal(engine, limited, method, answers) for limited, answers in own]
            else:
                found = [signal(engine, here, method, seen)] * len(design.budgets)
            pairs = zip(found, design.budgets, strict=True)
            return [_in_order(choose(here, method, one, budget)) for one, budget in pairs]

        names = [label(method) for method in design.methods]
        jobs = [
            Job("selection", f"select by {name}, seed {seed}", lambda method=method, pick=pick: pick(method))  # type: ignore[misc]
            for name, method in zip(names, design.methods, strict=True)
        ]
        base = design.recipe.model_copy(update={"seed": seed})
        for name, method, found in zip(names, design.methods, engine.executor.run(jobs), strict=True):
            answers = [apart[method, budget][1] for budget in design.budgets] if method.by_budget else [seen]
            spent.setdefault(name, []).extend(Cost(*engine.cost(asked, method)) for asked in answers)
            for budget, (positions, tokens) in zip(design.budgets, found, strict=True):
                if not positions:
                    raise InputError(f"{name} picks no row at a budget of {budget}")
                limited, asked = apart[method, budget] if method.by_budget else (here, seen)
                recipe = method.training(limited.data, asked, base)
                arms.append(Arm(name, str(budget), seed, positions, recipe, _kind(name), tokens=tokens))
    if design.full:
        arms += _full(prepared, design)
    arms.append(Arm("untrained", "0", design.seeds[0], (), None, "untrained"))
    costs = {
        name: Cost(float(np.mean([c.seconds for c in found])), float(np.mean([c.flops for c in found])))
        for name, found in spent.items()
    }
    return Chosen(arms, costs)


def _in_order(picks: Picks) -> Chose:
    """The picks by position."""
    order = np.argsort(picks.index)
    tokens = None if picks.tokens is None else TokenWeights([picks.tokens[i] for i in order])
    return tuple(picks.index[order].tolist()), tokens


def _kind(name: str) -> Kind:
    return "random" if name == "random" else "control" if name in CONTROLS else "method"


def _full(prepared: Prepared, design: Design) -> list[Arm]:
    everything = tuple(range(len(prepared.pool)))
    arms = []
    for seed in design.seeds:
        arms.append(Arm("full", "100%", seed, everything, design.recipe.model_copy(update={"seed": seed}), "full"))
        arms.append(Arm("full, 1 epoch", "100%", seed, everything, design.recipe.trained_for(1.0, seed), "ceiling"))
    return arms


def length_matched(setup: Setup, leaders: Sequence[Arm]) -> list[Arm]:
    """For each arm one on random rows whose replies are as long, drawn anew per seed."""
    lengths = setup.prepared.table["response_tokens"].to_numpy()
    arms = []
    for arm in leaders:
        purpose = zlib.crc32(f"{arm.method} {arm.budget}/length-matched".encode())
        drawn = matched(arm.positions, lengths, np.random.default_rng([arm.seed, purpose]))
        name = f"as long as {arm.method}"
        positions, recipe = tuple(drawn.tolist()), setup.design.recipe.model_copy(update={"seed": arm.seed})
        plain = replace(arm, tokens=None, recipe=recipe)  # of the method only how long its replies are
        arms.append(replace(plain, method=name, positions=positions, kind="length-matched", of=arm.method))
    return arms


def at_second_rate(setup: Setup, arms: Sequence[Arm]) -> list[Arm]:
    """The same arms at the design's second learning rate."""
    factor = setup.design.second_rate
    assert factor is not None
    rate = factor * setup.design.recipe.peak_learning_rate(setup.bench.width())
    found = []
    for arm in arms:
        assert arm.recipe is not None
        recipe = arm.recipe.model_copy(update={"learning_rate": rate})
        found.append(replace(arm, method=f"{arm.method}, rate {rate:.2g}", recipe=recipe, kind="second rate", of=arm.method))
    return found
