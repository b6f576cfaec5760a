"""Which rows each arm trains on."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from curate.choices import Choice, choices
from curate.comparison.arms import Arm, Kind
from curate.comparison.design import CONTROLS, Design, Setup
from curate.errors import InputError
from curate.overview import Picked
from curate.preparation import Prepared
from curate.requests import TokenWeights
from curate.selectors.matched import matched
from curate.selectors.picks import Picks
from curate.training.config import TrainConfig


@dataclass(frozen=True)
class Cost:
    """What something took: seconds of wall time, and FLOPs; NaN where that is not known."""

    seconds: float = 0.0
    flops: float = 0.0

    @classmethod
    def mean(cls, costs: Sequence["Cost"]) -> "Cost":
        """The mean of some."""
        return cls(float(np.mean([cost.seconds for cost in costs])), float(np.mean([cost.flops for cost in costs])))


@dataclass(frozen=True)
class Chosen:
    """The arms of a comparison's first round, and what it took to choose, by method, budget and seed.

    shown: the picks of every method for the first seed at the largest budget, with its scores.
    """

    arms: list[Arm]
    costs: Mapping[tuple[str, str, int], Cost]
    shown: list[Picked]


Chose = tuple[tuple[int, ...], TokenWeights | None]  # positions, ascending, and what their tokens count


def choose_all(setup: Setup) -> Chosen:
    """The arms of every method, budget and seed, of the whole pool, and of no training.

    What draws or trains something is chosen anew for each seed. Raises InputError when a method picks nothing.
    """
    design, prepared, engine = setup.design, setup.prepared, setup.bench.engine
    costs: dict[tuple[str, str, int], Cost] = {}
    arms: list[Arm] = []
    shown: list[Picked] = []
    most = design.largest(prepared.table["tokens"].to_numpy())
    for seed in design.seeds:
        first = seed == design.seeds[0]
        base = design.recipe.model_copy(update={"seed": seed})
        for choice in choices(engine, prepared, design.methods, design.budgets, seed, keep_scores=first):
            costs[choice.name, str(choice.budget), seed] = Cost(*engine.cost(choice.seen, choice.method))
            arms.append(chosen_arm(choice, base))
            if first and choice.budget == most:
                shown.append(Picked.of(choice))
    if design.full:
        arms += _full(prepared, design)
    arms.append(Arm("untrained", "0", design.seeds[0], (), None, "untrained"))
    return Chosen(arms, costs, shown)


def chosen_arm(choice: Choice, recipe: TrainConfig) -> Arm:
    """The arm of what a method picked, trained by a recipe that has its seed. Raises InputError when it picked nothing."""
    positions, tokens = _in_order(choice.picks)
    if not positions:
        raise InputError(f"{choice.name} picks no row at a budget of {choice.budget}")
    own = choice.method.training(choice.data, choice.seen, recipe)
    return Arm(choice.name, str(choice.budget), recipe.seed, positions, own, _kind(choice.name), tokens=tokens)


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
