"""A search before anything of it runs: what was asked, checked and tokenised, and how the spend is laid out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.automatic.halving import Candidate
from curate.automatic.measuring import measured
from curate.automatic.schedule import CONFIRMED_ARMS, PLANNED, Prices, Rates, Schedule, lay_out
from curate.automatic.spend import Ledger
from curate.automatic.split import held_out, named, split
from curate.budget import Budget
from curate.comparison.arms import Bench
from curate.comparison.choosing import Cost
from curate.comparison.design import Setup, set_up
from curate.comparison.overlap import refuse_overlap
from curate.engine import Engine
from curate.errors import InputError
from curate.estimate import Step, peak_memory
from curate.evaluation.tasks import Task
from curate.method import Method
from curate.pool import Pool
from curate.preparation import PoolLike, as_pool, as_tasks, hold_out
from curate.registry import label
from curate.wording import counted

METHODS = ("longest", "balanced", "perplexity", "facility-location", "kmq")  # cheap, and without a target
BUDGETS = ("5%", "10%")
FREE = Cost()
LEAST_STEPS = 10  # of a training: a shorter one says nothing of its rows
PLAN_VERSION = 1  # raise it when the same rates would be laid out in another way


@dataclass(frozen=True)
class Search:
    """What a search holds fixed.

    setup     of the halving: pool, model, recipe at full length, and the bench with the halving part.
    confirm   the part that only the confirmation looks at.
    pool      the rows that are chosen from; fewer than were given where the evaluation items are held out of them.
    methods   the candidates by label, random left out.
    asked     what `set_up`, `compare` and `select` share.
    remarks   on how the items were divided.
    """

    setup: Setup
    task: Task
    confirm: Task
    confirming: Bench
    pool: Pool
    methods: Mapping[str, Method]
    asked: Mapping[str, Any]
    remarks: tuple[str, ...]
    seed: int

    @property
    def engine(self) -> Engine:
        return self.setup.bench.engine

    @property
    def budgets(self) -> dict[str, Budget]:
        return {str(budget): budget for budget in self.setup.design.budgets}

    @property
    def candidates(self) -> list[Candidate]:
        """Every method at every budget, in the order given."""
        return [Candidate(name, budget) for name in self.methods for budget in self.budgets]


def prepared(
    pool: PoolLike, methods: Sequence[str | Method], *, budgets: Sequence[Budget | str | int | float],
    evals: Mapping[str, PoolLike] | PoolLike | Sequence[Task] | None,
    confirm: Mapping[str, PoolLike] | PoolLike | Sequence[Task] | None,
    engine: Engine, seed: int, **asked: Any,
) -> Search:  # fmt: skip
    """What `curate.auto` is given, checked and tokenised. Raises InputError for whatever is wrong with it."""
    whole = as_pool(pool)
    whole, task, second, remark = _items(whole, evals, confirm, seed)
    target = asked.get("target")
    refuse_overlap(whole, [task, second], None if target is None else as_pool(target))
    setup = set_up(
        whole, methods, budgets=budgets, evals=[task], seeds=1, engine=engine, full=False, second_rate=None, controls=(),
        seed=seed, **asked,
    )  # fmt: skip
    chosen = {label(method): method for method in setup.design.methods if label(method) != "random"}
    if not chosen:
        raise InputError("name at least one method beside random, which is always in")
    held = hold_out(engine, second, setup.bench.model)
    confirming = Bench(engine, setup.bench.model, setup.bench.rows, [(held.task, held.rows)], setup.bench.repeats)
    shared = {name: value for name, value in asked.items() if name not in ("tokens", "epochs")}
    return Search(setup, task, second, confirming, whole, chosen, shared, (remark, *setup.remarks), seed)


def _items(pool: Pool, evals: Any, confirm: Any, seed: int) -> tuple[Pool, Task, Task, str]:
    """The pool, the halving part, the confirmation part, and how they came about."""
    if evals is None:
        if confirm is not None:
            raise InputError("a confirmation set needs an evaluation set to search by; give one with --eval")
        pool, task = held_out(pool, seed)
        first, second = split(task, seed)
        said = (
            f"{counted(len(task.pool))} were held out of the pool, {len(first.pool):,} to search by and {len(second.pool):,} to "
            "confirm on; they have the pool's own faults, so give a clean evaluation set where there is one"
        )
        return pool, first, second, f"{said}."
    tasks = as_tasks(evals)
    if len(tasks) != 1:
        raise InputError(f"a search decides by one evaluation set, not by {len(tasks)}")
    if confirm is None:
        first, second = split(tasks[0], seed)
        how = f"{tasks[0].name} was cut in two by a hash of the row ids, equal prompts together"
    else:
        given = as_tasks(confirm)
        if len(given) != 1 or given[0].metric != tasks[0].metric:
            raise InputError("the confirmation is made on one set, by the metric of the evaluation set")
        first, second = named(tasks[0], given[0])
        how = f"{first.name} is what the search goes by, {second.name} what it is confirmed on"
    return pool, first, second, f"{how}: {len(first.pool):,} items to search by, {len(second.pool):,} to confirm on."


def planned(search: Search, ledger: Ledger) -> tuple[Prices, Schedule]:
    """How the spend is laid out. It is kept, so that the same search goes on as it began, however fast the machine is by then.

    Raises InputError, with the spend that would do, where not even the smallest search fits.
    """
    spend, engine = ledger.spend, search.engine

    def build(folder: Path) -> None:
        rates = measured(search.setup, search.confirming, list(search.methods.values()), search.seed)
        found = {"rates": rates.to_dict(), "spent": ledger.spent}
        (folder / "plan.json").write_text(json.dumps(found, indent=1) + "\n")

    folder = engine.store.make("plans", plan_spec(search, ledger), build)
    kept = json.loads((folder / "plan.json").read_text())
    recipe = search.setup.design.recipe
    assert recipe.tokens is not None
    least = min(recipe.tokens, LEAST_STEPS * recipe.batch_tokens)
    prices = Prices(spend, Rates.from_dict(kept["rates"]), len(search.budgets), recipe.tokens, least)
    return prices, lay_out(prices, list(search.methods), PLANNED * (spend.amount - kept["spent"]))


def plan_spec(search: Search, ledger: Ledger) -> dict[str, Any]:
    """What a schedule depends on, for its address."""
    bench, data, engine = search.setup.bench, search.setup.prepared.data, search.engine
    return {
        "kind": "plan",
        "version": PLAN_VERSION,
        "spend": [ledger.spend.amount, ledger.spend.unit],
        "device": engine.device,
        "model": engine.model_hash(bench.model),
        "scorer": engine.model_hash(data.model),
        "encoding": engine.encoding_spec(bench.model),
        "recipe": engine.recipe_spec(search.setup.design.recipe),
        "rows": bench.rows.fingerprint,
        "others": {name: rows.fingerprint for name, rows in data.others.items()},
        "embedder": data.embedder.label,
        "methods": list(search.methods),
        "budgets": list(search.budgets),
        "tasks": [task.identity(rows.fingerprint) for each in (bench, search.confirming) for task, rows in each.tasks],
        "seed": search.seed,
    }


def laid_out(search: Search, ledger: Ledger) -> list[Step]:
    """The schedule as the lines of a plan: scoring, rungs, the confirmation; what is refused is in the engine's notes."""
    prices, schedule = planned(search, ledger)
    for method, reason in schedule.refused.items():
        search.engine.note(f"{method} is not tried: {reason}")
    rates, memory, rows = prices.rates, peak_memory(search.engine), search.setup.bench.rows.size
    held = search.setup.bench.tasks[0][1].size, search.confirming.tasks[0][1].size

    def step(name: str, rows: int, arms: int, tokens: int, measured: Cost, scoring: Cost = FREE) -> Step:
        each = Cost(rates.training.seconds + measured.seconds, measured.flops)
        seconds = arms * (each.seconds + tokens * rates.token.seconds) + scoring.seconds
        flops = arms * (each.flops + tokens * rates.token.flops) + scoring.flops
        return Step(name, rows, arms * tokens, flops, seconds, memory)

    alone = [rates.scoring[method][0] for method in schedule.methods]
    scoring = min([Cost(sum(c.seconds for c in alone), sum(c.flops for c in alone)), rates.together[0]], key=prices.spend.of)
    steps = [step("score the pool", rows, 0, 0, rates.halving, scoring)]
    for number, rung in enumerate(schedule.rungs, start=1):
        name = f"rung {number}: {rung.arms} arms and random, {counted(rung.seeds, 'seed')}, {rung.tokens:,} tokens each"
        steps.append(step(name, held[0], (rung.arms + rung.references) * rung.seeds, rung.tokens, rates.halving))
    last = schedule.confirmation
    name = f"confirmation: the winner, random and as long, {counted(last.seeds, 'seed')}, {last.tokens:,} tokens each"
    return [*steps, step(name, held[1], CONFIRMED_ARMS * last.seeds, last.tokens, rates.confirmation)]
