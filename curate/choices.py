"""What several methods choose out of one prepared pool, at one or more budgets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from curate.answers import Seen
from curate.budget import Budget
from curate.engine import Engine
from curate.jobs import Job
from curate.method import Data, Method
from curate.preparation import Prepared, choose, signal, within
from curate.registry import label
from curate.selectors.picks import Picks
from curate.signals import RowScore, Signal


@dataclass(frozen=True)
class Choice:
    """A method's picks at a budget, for the seed in `data`, and what they came from.

    scores, preference  what the method makes of every row, where that was asked for (`Method.score`, `Method.preference`).
    """

    method: Method
    budget: Budget
    data: Data
    seen: Seen
    signal: Signal | None
    picks: Picks
    scores: RowScore | None = None
    preference: np.ndarray | None = None

    @property
    def name(self) -> str:
        return label(self.method)

    @property
    def seed(self) -> int:
        return self.data.seed


def choices(
    engine: Engine,
    prepared: Prepared,
    methods: Sequence[Method],
    budgets: Sequence[Budget],
    seed: int,
    *,
    keep_signals: bool = False,
    keep_scores: bool = False,
) -> list[Choice]:
    """The picks of each method at each budget, in this order, with everything that is drawn or trained made by the seed.

    What methods ask for is shared; those that ask by the budget are asked for each.
    """
    here = replace(prepared, data=replace(prepared.data, seed=seed))
    shared = engine.gather([method for method in methods if not method.by_budget], here.data)
    asked: dict[tuple[Method, Budget], tuple[Prepared, Seen]] = {}
    for method in methods:
        for budget in budgets:
            limited = within(here, method, budget)
            asked[method, budget] = limited, engine.gather([method], limited.data) if method.by_budget else shared

    def pick(method: Method) -> list[Choice]:
        found: list[Choice] = []
        known: Signal | None = None
        scored: tuple[RowScore | None, np.ndarray | None] = None, None
        for budget in budgets:
            limited, seen = asked[method, budget]
            if known is None or method.by_budget:
                known = signal(limited, method, seen)
                scored = (method.score(known), method.preference(known)) if keep_scores else (None, None)
            kept = known if keep_signals else None  # they may be large
            found.append(Choice(method, budget, limited.data, seen, kept, choose(limited, method, known, budget), *scored))
        return found

    jobs = [
        Job("selection", f"select by {label(method)}, seed {seed}", lambda method=method: pick(method))  # type: ignore[misc]
        for method in methods
    ]
    return [choice for found in engine.executor.run(jobs) for choice in found]
