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
from curate.comparison.concluding import verdict_of
from curate.comparison.design import CONTROLS, SECOND_RATE, Matched, Setup, set_up
from curate.comparison.evidence import CHOSEN, Evidence, Measure
from curate.comparison.judging import Judged, judge
from curate.comparison.overlap import measured_overlap
from curate.comparison.verdict import Verdict
from curate.engine import Engine
from curate.evaluation.tasks import EVALUATE_VERSION, Task
from curate.jobs import Job
from curate.lm.models import ModelSpec
from curate.manifests import made_from
from curate.overview import overview
from curate.preparation import MethodLike, PoolLike
from curate.requests import Embedder
from curate.training.config import TRAIN_VERSION, TrainConfig
from curate.versions import versions


def compare(
    pool: PoolLike,
    methods: MethodLike | Sequence[MethodLike],
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
    matched: Matched = "leaders",
    controls: Sequence[MethodLike] = CONTROLS,
    seed: int = 0,
) -> Verdict:
    """Train on each method's picks at each budget, and on random picks, at equal tokens, and compare on held-out rows.

    budgets      as for `select`. tokens: processed tokens of each training; by default `epochs` (3) of the largest budget.
    evals        held-out conversations: a path or Pool, or several by name; the first is the primary one.
    seeds        how many; seed s draws random picks, fits, initialises and shuffles alike in every arm.
    recipe       the training settings of all arms; its length is set here.
    embedder     for methods that compare rows: hidden, tfidf or a sentence-transformers model (`curate.embedding`).
    full         also train on the whole pool: at equal tokens, and for one epoch as a ceiling outside the tests.
    margin       what counts as equivalent, as a fraction of the metric under random picks; of metrics from 0 to 1 as it is.
    second_rate  where a selection beats random, both are trained again at this multiple of the learning rate; None: not.

    matched      leaders: the best arm at each budget and all that beat random are also held against random rows with replies as
                 long; all: every selection is; none: none is.
    controls     what is compared beside the methods; random is always in.

    Raises InputError for whatever is wrong with the input.
    """
    setup = set_up(
        pool, methods, budgets=budgets, evals=evals, seeds=seeds, tokens=tokens, epochs=epochs, model=model,
        scorer_model=scorer_model, target=target, existing=existing, engine=engine, recipe=recipe, embedder=embedder, full=full,
        margin=margin, confidence=confidence, second_rate=second_rate, matched=matched, controls=controls, seed=seed,
    )  # fmt: skip
    design, bench, prepared = setup.design, setup.bench, setup.prepared
    chosen = choose_all(setup)
    evidence = Evidence(
        tuple(Measure(task.name, task.metric) for task, _ in bench.tasks),
        bench.rows.size,
        _run_all(bench, chosen.arms),
        chosen.costs,
        _fingerprints(setup),
        (*setup.remarks, *measured_overlap(prepared.pool, [task for task, _ in bench.tasks])),
    )
    evidence = evidence.with_results(_run_all(bench, _followed(setup, judge(design, evidence), evidence.results)))

    def conclude() -> Verdict:
        size = str(design.largest(prepared.table["tokens"].to_numpy()))
        look = overview(bench.engine, prepared, chosen.shown, bench.model, setup.account, budget=size)
        selections = _selections(bench, evidence.results)
        manifest = {"curate": versions(), "rows_truncated": prepared.truncated, **made_from(bench.engine, prepared, bench.model)}
        manifest["replay"] = setup.asked
        more = {"manifest": manifest, "pool": prepared.pool, "unusable": prepared.unusable, "overview": look}
        return verdict_of(design, evidence, setup.config, selections, **more)

    [verdict] = bench.engine.executor.run([Job("verdict", "verdict", conclude)])
    return verdict


def _fingerprints(setup: Setup) -> dict[str, Any]:
    """What must agree for arms of several runs to be compared: models, the pool's rows, the evaluation sets and their metrics."""
    bench, data = setup.bench, setup.prepared.data
    engine = bench.engine
    return {
        "trainer or evaluation": [TRAIN_VERSION, EVALUATE_VERSION],
        "model": engine.model_hash(bench.model),
        "chat template or length limit": repr(engine.encoding_spec(bench.model)),
        "scoring model": engine.model_hash(data.model),
        "pool": bench.rows.fingerprint,
        **{f"evaluation set {task.name}": repr(task.identity(rows.fingerprint)) for task, rows in bench.tasks},
        **{name: rows.fingerprint for name, rows in (("target", data.target), ("existing data", data.existing)) if rows},
    }


def _followed(setup: Setup, first: Judged, results: Mapping[Arm, ArmResult]) -> list[Arm]:
    """The arms that depend on the first answers: length-matched random of the leaders, the winner at a second rate."""
    every = setup.design.matched == "all"
    leads = lambda arm: (arm.method, arm.budget) in first.leaders or (every and arm.kind in ("control", "method"))  # noqa: E731
    arms = [] if setup.design.matched == "none" else length_matched(setup, [arm for arm in results if leads(arm)])
    if first.winner is not None and setup.design.second_rate is not None:
        method, budget = first.winner
        again = [arm for arm in results if arm.budget == budget and arm.method in ("random", method)]
        arms += at_second_rate(setup, again)
    return arms


def _run_all(bench: Bench, arms: Sequence[Arm]) -> dict[Arm, ArmResult]:
    if not arms:
        return {}
    engine = bench.engine
    ahead = {arm for arm in arms if engine.executor.elsewhere and not bench.has(arm)}
    with progress.task("train and evaluate arms", len(arms), "arms") as advance:
        for _ in engine.executor.spread((bench.work(arm) for arm in arms if arm in ahead), engine, advance):
            pass  # what comes of them is in the store

        def run(arm: Arm) -> ArmResult:
            result = bench.run(arm)
            advance(arm not in ahead)
            return result

        jobs = [Job("arm", f"train and evaluate {arm.name}", lambda arm=arm: run(arm)) for arm in arms]  # type: ignore[misc]
        return dict(zip(arms, engine.executor.run(jobs), strict=True))


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
        if arm.kind in CHOSEN
    ]
    return pl.concat(parts)
