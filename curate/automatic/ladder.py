"""The rungs of a search, run: score, pick, train, evaluate, and let the better half go on."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from curate import progress
from curate.automatic.halving import Candidate, Standing, cut, standings
from curate.automatic.schedule import Prices, Rung, Schedule, shrunk, slower
from curate.automatic.search import Search
from curate.automatic.sentences import why
from curate.automatic.spend import Ledger, Metered, Overspent, Running
from curate.choices import choices
from curate.comparison.arms import Arm, ArmResult
from curate.comparison.choosing import Cost, chosen_arm
from curate.comparison.evidence import Measure
from curate.comparison.judging import item_weights
from curate.engine import Engine
from curate.errors import CurateError
from curate.jobs import Job
from curate.lm.halving import DeviceLost
from curate.registry import label
from curate.wording import counted

RANDOM = "random"


@dataclass
class Ladder:
    """A search as far as it has come. `standing`: the candidates still in it, best first once a rung has ranked them."""

    search: Search
    schedule: Schedule
    prices: Prices
    ledger: Ledger
    standing: list[Candidate] = field(default_factory=list)
    rungs: list[dict[str, Any]] = field(default_factory=list)
    discarded: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        kept = set(self.schedule.methods)
        self.standing = [candidate for candidate in self.search.candidates if candidate.method in kept]
        for candidate in self.search.candidates:
            if candidate.method not in kept:
                self.drop(candidate, 0, self.schedule.refused[candidate.method])

    @property
    def methods(self) -> list[str]:
        """Those of the candidates still in it."""
        return list(dict.fromkeys(candidate.method for candidate in self.standing))

    def drop(self, candidate: Candidate, rung: int, reason: str, found: Standing | None = None, at: float | None = None) -> None:
        """Take an arm out of the search, for a reason."""
        numbers = {name: getattr(found, name, None) for name in ("value", "diff", "ci_low", "ci_high")}
        line = {"method": candidate.method, "budget": candidate.budget, "rung": rung, "reason": reason, **numbers, "cut": at}
        self.discarded.append(line)
        self.standing = [other for other in self.standing if other != candidate]

    def score(self) -> None:
        """Answer what all methods ask for with the first seed, in as few passes as that takes."""
        engine, data = self.search.engine, replace(self.search.setup.prepared.data, seed=self.search.seed)
        with self.ledger.part("scoring", reserve=self.schedule.confirmation.cost, predicted=self.schedule.scoring) as part:
            since = len(engine.stages)
            while self.standing:
                asking = [method for name in self.methods if not (method := self.search.methods[name]).by_budget]
                try:
                    with metered(engine, part):
                        engine.gather(asking, data)
                    break
                except Overspent:
                    dearest = max(reversed(self.methods), key=self.prices.first)
                    for candidate in [other for other in self.standing if other.method == dearest]:
                        self.drop(candidate, 0, "too dear: what it asks for was not scored within the spend")
            part.add(took(engine, since, {}))

    def climb(self) -> None:
        """Run the rungs as far as the spend goes."""
        before = 1  # seeds scored so far
        for number, plan in enumerate(self.schedule.rungs, start=1):
            arms = min(plan.arms, len(self.standing))
            if arms < 2:
                return
            rung = shrunk(self.prices, plan, arms, before, self.methods, self.ledger.left - self._reserve)
            if rung is None:
                return
            later = self.schedule.rungs[number:]
            if not self._run(number, rung, later[0].arms if later else 1):
                return
            before = max(before, rung.seeds)

    @property
    def _reserve(self) -> float:
        """What the planned confirmation takes, at the prices of now."""
        planned = self.schedule.confirmation
        return self.prices.confirm(planned.seeds, planned.tokens, self.methods).cost

    def _run(self, number: int, rung: Rung, keep: int) -> bool:
        """One rung; whether it ranked the arms: by as many seeds as all have, where the spend ends it early.

        A first rung without one whole seed ranks what was reached; a later one leaves the ranking as it was.
        """
        engine, seeds = self.search.engine, [self.search.seed + s for s in range(rung.seeds)]
        arms = (len(self.standing) + len({c.budget for c in self.standing})) * rung.seeds
        what, each = f"rung {number}: {counted(arms, 'training')} of {rung.tokens:,} tokens", self.prices.arm(rung.tokens)
        done: dict[Candidate, dict[int, ArmResult]] = {}
        results: dict[Arm, ArmResult] = {}
        with (
            self.ledger.part(what, each=each, reserve=self._reserve, predicted=rung.cost) as part,
            progress.task(f"rung {number} of {len(self.schedule.rungs)}", arms, "arms") as advance,
        ):
            since, finished = len(engine.stages), False
            try:
                with metered(engine, part):
                    for seed in seeds:
                        for arm, result in self._train(number, seed, rung.tokens):
                            results[arm] = result
                            done.setdefault(Candidate(arm.method, arm.budget), {})[seed] = result
                            advance(1)
                finished = True
            except Overspent:
                pass
            part.add(took(engine, since, results))
        item = self.ledger.items[-1]
        spent = self.ledger.spend.of(Cost(item.seconds, item.flops))
        self.prices = slower(self.prices, rung.cost if finished else part.arms * each, spent)
        whole = [seed for seed in seeds if all(seed in done.get(candidate, {}) for candidate in self.standing)]
        if not whole and self.rungs:
            return False
        judged = whole or seeds[:1]
        values = {c: [found[s] for s in judged] for c, found in done.items() if all(s in found for s in judged)}
        self._judge(number, rung, judged, values, keep, spent)
        return bool(whole)

    def _train(self, number: int, seed: int, tokens: int) -> Iterator[tuple[Arm, ArmResult]]:
        """The arms of a seed as they are done, random first. A candidate that cannot be chosen or trained is dropped."""
        search, engine = self.search, self.search.engine
        random = next(method for method in search.setup.design.methods if label(method) == RANDOM)
        recipe = search.setup.design.recipe.model_copy(update={"tokens": tokens, "seed": seed})
        for name, method in {RANDOM: random, **{name: search.methods[name] for name in self.methods}}.items():
            mine = [c.budget for c in self.standing if name in (RANDOM, c.method)]
            for budget in dict.fromkeys(mine):
                try:
                    # Passes are in the store by now; what is chosen is chosen for each budget.
                    [choice] = choices(engine, search.setup.prepared, [method], [search.budgets[budget]], seed)
                    arm = chosen_arm(choice, recipe)
                    job = Job("arm", f"train and evaluate {arm.name}", partial(search.setup.bench.run, arm))
                    [result] = engine.executor.run([job])
                except CurateError as error:
                    if name == RANDOM or isinstance(error, DeviceLost):
                        raise
                    self.drop(Candidate(name, budget), number, f"rung {number}: {error}")
                    continue
                yield arm, result

    def _judge(
        self,
        number: int,
        rung: Rung,
        seeds: Sequence[int],
        done: Mapping[Candidate, Sequence[ArmResult]],
        keep: int,
        spent: float,
    ) -> None:
        """Rank what is done, and let the best `keep` go on."""
        task = self.search.setup.bench.tasks[0][0]
        values = {candidate: np.stack([result.values(task.name) for result in found]) for candidate, found in done.items()}
        random = {candidate.budget: found for candidate, found in values.items() if candidate.method == RANDOM}
        ranked = {c: values[c] for c in self.standing if c in values and c.budget in random}
        for candidate in [c for c in self.standing if c not in ranked]:
            self.drop(candidate, number, f"rung {number}: the spend ended before it was trained")
        if not ranked:
            return
        measure = Measure(task.name, task.metric)
        weights, strata = item_weights(measure, next(iter(done.values()))[0])
        lower = task.how.lower_is_better
        found = standings(ranked, random, weights, strata, keep=keep, lower_is_better=lower)
        at, lines = cut(found), []
        for standing in found:
            reason = None
            if standing.kept is False:
                assert at is not None
                reason = why(standing, number, at, min(keep, len(ranked)))
                self.drop(standing.candidate, number, reason, standing, at)
            lines.append({**standing.to_dict(), "reason": reason})
        self.standing = [standing.candidate for standing in found if standing.kept]
        going = ", ".join(candidate.name for candidate in self.standing[:3]) + (" ..." if len(self.standing) > 3 else "")
        progress.say(f"rung {number}: {len(ranked)} arms, {len(self.standing)} go on: {going}")
        self.rungs.append(
            {
                "rung": number,
                "seeds": list(seeds),
                "tokens": rung.tokens,
                "items": len(weights),
                "cut": at,
                "interval": "items" if len(seeds) == 1 else "seeds and items",
                "predicted": rung.cost,
                "took": spent,
                "standings": lines,
            }
        )


@contextmanager
def metered(engine: Engine, part: Running) -> Iterator[None]:
    """Inside the block each job of the engine is asked whether it still fits; Overspent where it does not."""
    inner = engine.executor
    engine.executor = Metered(inner, part)
    try:
        yield
    finally:
        engine.executor = inner


def took(engine: Engine, since: int, results: Mapping[Arm, ArmResult]) -> Cost:
    """What the stages from `since` on took, with the arms by their own accounts, whichever run trained them."""
    trained = {f"train {arm.name}" for arm in results}
    others = [stage for stage in engine.stages[since:] if stage.name not in trained and stage.kind != "evaluate"]
    accounts = [result.account for result in results.values()]
    seconds = sum(stage.seconds for stage in others) + sum(a["seconds"] + a.get("evaluate_seconds", 0.0) for a in accounts)
    flops = sum(stage.flops for stage in others) + sum(a["flops"] + a.get("evaluate_flops", 0.0) for a in accounts)
    return Cost(seconds, flops)
