"""Compare selections: train on each at equal tokens, evaluate, and say which are better than random."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curate import progress
from curate.budget import Budget
from curate.comparison.arms import Arm, ArmResult, Bench
from curate.comparison.choosing import at_second_rate, choose_all, length_matched
from curate.comparison.design import SECOND_RATE, Setup, set_up
from curate.comparison.judging import Judged, judge
from curate.comparison.overlap import measured_overlap
from curate.comparison.remarks import headline, remarks
from curate.comparison.verdict import Verdict
from curate.engine import Engine
from curate.evaluation.tasks import Task
from curate.jobs import Job
from curate.lm.models import ModelSpec
from curate.manifests import made_from
from curate.method import Method
from curate.preparation import PoolLike
from curate.requests import Embedder
from curate.training.config import TrainConfig
from curate.versions import versions


def compare(
    pool: PoolLike,
    methods: Sequence[str | Method],
    *,
    budgets: Sequence[Budget | str | int | float] = ("10%",),
    evals: Mapping[str, PoolLike] | PoolLike | Sequence[Task],
    seeds: int = 3,
    tokens: int | None = None,
    epochs: float | None = None,
    model: str | Path | ModelSpec | None = None,
    scorer_model: str | Path | ModelSpec | None = None,
    target: PoolLike | None = None,
    existing: PoolLike | None = None,
    engine: Engine | None = None,
    recipe: TrainConfig | None = None,
    embedder: str | Embedder = "hidden",
    full: bool = True,
    margin: float = 0.01,
    confidence: float = 0.95,
    second_rate: float | None = SECOND_RATE,
    seed: int = 0,
) -> Verdict:
    """Train on each method's picks at each budget, and on random picks, at equal tokens, and compare on held-out rows.

    budgets      as for `select`. tokens: processed tokens of each training; by default `epochs` (3) of the largest budget.
    evals        held-out conversations: a path or Pool, or several by name; the first is the primary one.
    seeds        how many; seed s draws random picks, fits, initialises and shuffles alike in every arm.
    recipe       the training settings of all arms; its length is set here.
    embedder     for methods that compare rows: hidden, tfidf or a sentence-transformers model (`curate.embedding`).
    full         also train on the whole pool: at equal tokens, and for one epoch as a ceiling outside the tests.
    margin       what counts as equivalent, as a fraction of the metric under random picks.
    second_rate  where a selection beats random, both are trained again at this multiple of the learning rate; None: not.

    random, balanced and longest are always in; so are, for the best arm at each budget and all that beat random, random
    rows with replies as long. Raises InputError for whatever is wrong with the input.
    """
    setup = set_up(
        pool, methods, budgets=budgets, evals=evals, seeds=seeds, tokens=tokens, epochs=epochs, model=model,
        scorer_model=scorer_model, target=target, existing=existing, engine=engine, recipe=recipe, embedder=embedder, full=full,
        margin=margin, confidence=confidence, second_rate=second_rate, seed=seed,
    )  # fmt: skip
    design, bench, prepared = setup.design, setup.bench, setup.prepared
    chosen = choose_all(setup)
    results = _run_all(bench, chosen.arms)
    first = judge(design, bench, results, chosen.costs)
    results |= _run_all(bench, _followed(setup, first, results))

    def conclude() -> Verdict:
        judged = judge(design, bench, results, chosen.costs)
        said = [*setup.remarks, *measured_overlap(prepared.pool, [task for task, _ in bench.tasks])]
        return Verdict(
            judged.rows,
            headline(judged.rows, len(design.seeds)),
            [*said, *remarks(design, bench, judged, results)],
            setup.config,
            _selections(bench, results),
            manifest={"curate": versions(), **made_from(bench.engine, prepared, bench.model)},
            pool=prepared.pool,
            unusable=prepared.unusable,
        )

    [verdict] = bench.engine.executor.run([Job("verdict", "verdict", conclude)])
    return verdict


def _followed(setup: Setup, first: Judged, results: Mapping[Arm, ArmResult]) -> list[Arm]:
    """The arms that depend on the first answers: length-matched random of the leaders, the winner at a second rate."""
    arms = length_matched(setup, [arm for arm in results if (arm.method, arm.budget) in first.leaders])
    if first.winner is not None and setup.design.second_rate is not None:
        method, budget = first.winner
        again = [arm for arm in results if arm.budget == budget and arm.method in ("random", method)]
        arms += at_second_rate(setup, again)
    return arms


def _run_all(bench: Bench, arms: Sequence[Arm]) -> dict[Arm, ArmResult]:
    if not arms:
        return {}
    with progress.task("train and evaluate arms", len(arms), "arms") as advance:

        def run(arm: Arm) -> ArmResult:
            result = bench.run(arm)
            advance(1)
            return result

        jobs = [Job("arm", f"train and evaluate {arm.name}", lambda arm=arm: run(arm)) for arm in arms]  # type: ignore[misc]
        return dict(zip(arms, bench.engine.executor.run(jobs), strict=True))


def _selections(bench: Bench, results: Mapping[Arm, ArmResult]) -> pl.DataFrame:
    """The picks of every arm that chose: method, kind, budget, seed, row_id."""
    row_ids = np.array(bench.engine.encodings(bench.model, bench.rows).row_ids, dtype=object)
    parts: list[Any] = [
        pl.DataFrame(
            {
                "method": arm.method,
                "kind": arm.kind,
                "budget": arm.budget,
                "seed": arm.seed,
                "row_id": row_ids[list(arm.positions)].tolist(),
            }
        )
        for arm in results
        if arm.kind in ("random", "control", "method", "length-matched")
    ]
    return pl.concat(parts)
