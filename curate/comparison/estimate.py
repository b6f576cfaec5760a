"""What a comparison would take, before any of it runs."""

import time
from dataclasses import replace
from typing import Any

from curate.comparison.arms import Bench
from curate.comparison.design import Design, set_up
from curate.estimate import Calibration, Step, estimate, peak_memory, training, typical
from curate.evaluation.tasks import evaluate
from curate.lm.models import forward_flops
from curate.method import Method
from curate.plan import Plan, merge
from curate.registry import label
from curate.requests import Fit
from curate.wording import counted

BATCH_TOKENS = 4096  # of evaluations


def estimate_compare(**asked: Any) -> list[Step]:
    """The fits and passes of every seed's selections, then the trainings and evaluations of all arms.

    asked: as `compare` has it. Methods that pick the same rows share their arms, and arms that are in the store are not run
    again. One length-matched control is counted at each budget, with matched=all every one. What is left out is in the engine's
    notes.
    """
    setup = set_up(**asked)
    design, bench, prepared = setup.design, setup.bench, setup.prepared
    calibration = Calibration(bench.engine)
    requests = [
        request
        for seed in design.seeds
        for method in design.methods
        for request in method.requests(replace(prepared.data, seed=seed), {})
    ]
    plan = merge(requests)
    steps = estimate(plan, calibration)
    seeds = len(design.seeds)
    every = len([method for method in design.methods if label(method) != "random"])
    matched = {"leaders": 1, "all": every, "none": 0}[design.matched]
    arms = (len(design.methods) + matched) * len(design.budgets) * seeds + (seeds if design.full else 0)
    steps.append(training(f"train {arms} arms", bench.model, prepared.rows, design.recipe, calibration, times=arms))
    if design.full:
        arms += seeds
        once = [Fit(bench.model, prepared.rows, design.recipe.trained_for(1.0, seed)) for seed in design.seeds]
        anew = [fit for fit in once if not _serves(bench, fit, plan)]
        if anew:
            name = f"train on the whole pool for 1 epoch, {len(anew)} times"
            steps.append(training(name, bench.model, prepared.rows, anew[0].recipe, calibration, times=len(anew)))
    for text in left_out(design):
        bench.engine.note(text)
    return steps + evaluations(setup.bench, arms + 1)


def left_out(design: Design) -> list[str]:
    """What a comparison may run beyond its estimate, for people."""
    parts = [] if design.matched != "leaders" else ["a length-matched control for each of them"]
    if design.second_rate is not None:
        parts.append(f"{counted(2 * len(design.seeds), 'training')} at a second learning rate")
    said = [f"Not in the plan, where selections beat random: {' and '.join(parts)}."] if parts else []
    choosing = [label(method) for method in design.methods if type(method).training is not Method.training]
    return said + [f"Not in the plan: how {name} chooses tokens in each training step." for name in choosing]


def _serves(bench: Bench, fit: Fit, plan: Plan) -> bool:
    """Whether a method's fit on the whole pool, made or to be made, is the arm of that training: on these very rows."""
    engine = bench.engine
    made = engine.store.has("fits", engine.fit_spec(fit)) or (fit in plan.fits and engine.kept(fit) is None)
    return bench.may_serve(fit) and made


def evaluations(bench: Bench, models: int) -> list[Step]:
    """A line for each task: evaluating so many models on it, by what a few of its rows take."""
    network, tokenizer = bench.engine.load_plain(bench.model), bench.engine.tokenizer(bench.model)
    steps = []
    for task, rows in bench.tasks:
        encodings = bench.engine.encodings(bench.model, rows)
        sample = encodings.take(typical(encodings.lengths, BATCH_TOKENS))
        evaluate(network, tokenizer, task, encodings.take(typical(encodings.lengths, BATCH_TOKENS, 1)))  # warm up
        began = time.perf_counter()
        result = evaluate(network, tokenizer, task, sample)
        share = models * float(encodings.lengths.sum()) / float(sample.lengths.sum())
        tokens, seconds = round(share * result.tokens), share * (time.perf_counter() - began)
        flops, memory = forward_flops(bench.model, tokens), peak_memory(bench.engine)
        steps.append(Step(f"evaluate {models} models on {task.name}", rows.size, tokens, flops, seconds, memory))
    return steps
