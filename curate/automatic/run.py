"""Search for the method and budget that suit a pool: successive halving, then one confirmation on items kept for it."""

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from curate.automatic import sentences
from curate.automatic.halving import Candidate
from curate.automatic.ladder import RANDOM, Ladder, metered, took
from curate.automatic.outcome import Answer, Outcome
from curate.automatic.schedule import CONFIRMATION_SEEDS, shrunk_confirmation, spend_for
from curate.automatic.search import BUDGETS, METHODS, planned, prepared
from curate.automatic.spend import Ledger, Overspent, Spend
from curate.automatic.tested import tested_of, would_take
from curate.budget import Budget
from curate.comparison import compare
from curate.comparison.verdict import Verdict
from curate.engine import Engine
from curate.evaluation.tasks import Task
from curate.lm.models import ModelSpec
from curate.manifests import made_from
from curate.method import Method
from curate.preparation import PoolLike
from curate.requests import Embedder
from curate.selection import Selection, select
from curate.training.config import TrainConfig
from curate.versions import versions


def auto(
    pool: PoolLike,
    methods: Sequence[str | Method] = METHODS,
    *,
    spend: Spend | str | float,
    budgets: Sequence[Budget | str | int | float] = BUDGETS,
    evals: Mapping[str, PoolLike] | PoolLike | Sequence[Task] | None = None,
    confirm: Mapping[str, PoolLike] | PoolLike | Sequence[Task] | None = None,
    tokens: int | None = None,
    epochs: float | None = None,
    model: str | Path | ModelSpec | None = None,
    scorer_model: str | Path | ModelSpec | None = None,
    target: PoolLike | None = None,
    existing: PoolLike | None = None,
    engine: Engine | None = None,
    recipe: TrainConfig | None = None,
    embedder: str | Embedder = "hidden",
    margin: float = 0.01,
    confidence: float = 0.95,
    seed: int = 0,
    command: Sequence[str] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Find the method and budget to pick rows by, within a spend, and confirm that it beats random; or say that it does not.

    spend     what may be spent in all: "20min" of wall time, or "1e15FLOPs".
    evals     held-out conversations, one set. It is cut in two, by a hash of the row ids, equal prompts together: the halving
              looks at one part, the confirmation at the other. Without it both are held out of the pool.
    confirm   the set to confirm on; then `evals` is not cut.
    tokens    processed tokens of a training at full length; by default `epochs` (3) of the largest budget. The halving's are
              shorter where the spend is small, and so may the confirmation's be.
    clock     tells seconds.
    The rest as for `curate.compare`.

    Random is no candidate: on each rung it is trained with the same seeds and measured on the same items. The winner alone is
    confirmed, with seeds and items that took no part in the halving, so its one test holds at its level however many arms
    there were. Raises InputError for whatever is wrong with the input, and for a spend too small for the smallest search.
    """
    ledger = Ledger(Spend.parse(spend), clock)
    engine = engine or Engine()
    with ledger.part("reading, and measuring the speed"):
        search = prepared(
            pool, methods, budgets=budgets, evals=evals, confirm=confirm, engine=engine, seed=seed, tokens=tokens, epochs=epochs,
            model=model, scorer_model=scorer_model, target=target, existing=existing, recipe=recipe, embedder=embedder,
            margin=margin, confidence=confidence,
        )  # fmt: skip
        prices, schedule = planned(search, ledger)
    ladder = Ladder(search, schedule, prices, ledger)
    ladder.score()
    ladder.climb()
    winner = ladder.standing[0] if ladder.standing and (ladder.rungs or len(ladder.standing) == 1) else None
    verdict, why_not = (
        _confirmed(ladder, winner) if winner else (None, "the spend ended before any arm could be held against random")
    )
    return _outcome(ladder, winner, verdict, why_not, command)


def _confirmed(ladder: Ladder, winner: Candidate) -> tuple[Verdict | None, str | None]:
    """The verdict on the winner, or why there is none."""
    search, ledger, engine = ladder.search, ladder.ledger, ladder.search.engine
    plan = shrunk_confirmation(ladder.prices, ladder.schedule.confirmation, [winner.method], ledger.left)
    if plan is None:
        return None, f"{ledger.spend.say(max(0.0, ledger.left))} are left of the spend, too little to confirm it"
    asked = {**search.asked, "tokens": plan.tokens, "seeds": plan.seeds, "seed": confirming_seed(ladder)}
    each = ladder.prices.arm(plan.tokens, confirming=True)
    what = f"confirmation: {winner.name}, {3 * plan.seeds} trainings of {plan.tokens:,} tokens"
    with ledger.part(what, each=each, predicted=plan.cost) as part:
        since = len(engine.stages)
        try:
            with metered(engine, part):
                verdict = compare(
                    search.pool, [search.methods[winner.method]], budgets=[search.budgets[winner.budget]],
                    evals=[search.confirm], engine=engine, full=False, second_rate=None, matched="all", controls=(), **asked,
                )  # fmt: skip
        except Overspent:
            return None, "its confirmation did not end within the spend"
        assert verdict.evidence is not None
        part.add(took(engine, since, verdict.evidence.results))
    return verdict, None


def confirming_seed(ladder: Ladder) -> int:
    """The first seed of the confirmation: behind all that the halving may have used, so that no luck of theirs is in it."""
    return ladder.search.seed + max((rung.seeds for rung in ladder.schedule.rungs), default=1)


def _outcome(
    ladder: Ladder, winner: Candidate | None, verdict: Verdict | None, why_not: str | None, command: Sequence[str] | None
) -> Outcome:
    search, ledger, design = ladder.search, ladder.ledger, ladder.search.setup.design
    tested = None if verdict is None or winner is None else tested_of(verdict, winner)
    remarks = list(search.remarks)
    answer: Answer = "undecided"
    use: Candidate | None = None
    if winner is None:
        sentence = f"Undecided: {why_not}."
    elif tested is None:
        sentence = sentences.undecided(winner, None, why_not)
    elif tested["answer"] == "better":
        answer, use, sentence = "method", winner, sentences.used(winner, tested)
    elif tested["answer"] in ("worse", "equivalent"):
        answer, sentence = "random", sentences.use_random(winner, tested)
        use = Candidate(RANDOM, _best_random(ladder) or winner.budget)
    else:
        sentence = sentences.undecided(winner, tested, None)
    if verdict is not None and tested is not None and winner is not None:
        remarks += sentences.rests_on(ladder.schedule, tested, design)
        if answer == "undecided":
            remarks.append(would_take(ladder, verdict, winner, design.alpha))
    if tested is None and (amount := spend_for(ladder.prices, list(search.methods), CONFIRMATION_SEEDS[0])) is not None:
        remarks.append(f"At the speed seen here a spend of about {ledger.spend.say(amount)} would do.")
    picked = None if use is None else _picked(ladder, use, command)
    engine, bench = search.engine, search.setup.bench
    task = bench.tasks[0][0]
    metric = {"name": task.metric, "task": task.name, "wording": task.how.wording, "lower_is_better": task.how.lower_is_better}
    config = {**search.setup.config, "spend": str(ledger.spend), "confirmation": search.confirm.name}
    return Outcome(
        answer=answer,
        sentence=sentence,
        remarks=remarks,
        winner=None if winner is None else asdict(winner),
        use=None if use is None else asdict(use),
        metric=metric,
        rungs=ladder.rungs,
        discarded=ladder.discarded,
        tested=tested,
        spend={
            "asked": ledger.spend.amount,
            "unit": ledger.spend.unit,
            "spent": ledger.spent,
            "parts": [asdict(item) for item in ledger.items],
        },
        plan=ladder.schedule.to_dict(),
        config=config,
        confirmation=verdict,
        picked=picked,
        manifest={
            "curate": versions(),
            "command": shlex.join(command) if command else None,
            "config": config,
            **made_from(engine, search.setup.prepared, bench.model),
        },
    )


def _best_random(ladder: Ladder) -> str | None:
    """The budget at which random did best on the last rung."""
    if not ladder.rungs:
        return None
    found = [line for line in ladder.rungs[-1]["standings"] if line["method"] == RANDOM]
    sign = 1 if ladder.search.task.how.lower_is_better else -1
    return min(found, key=lambda line: sign * line["value"])["budget"]


def _picked(ladder: Ladder, use: Candidate, command: Sequence[str] | None) -> Selection:
    """The rows to train on: those of the confirmation's first seed."""
    search = ladder.search
    method = search.methods.get(use.method, RANDOM)
    names = ("model", "scorer_model", "target", "existing", "recipe", "embedder")
    asked = {name: search.asked[name] for name in names}
    with ladder.ledger.part("picking the rows"):
        return select(
            search.pool, method, budget=search.budgets[use.budget], engine=search.engine, seed=confirming_seed(ladder),
            command=command, **asked,
        )  # fmt: skip
