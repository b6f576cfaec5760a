"""What a comparison would take, before any of it runs."""

import time
from dataclasses import replace
from typing import Any

from curate.comparison.design import Setup, set_up
from curate.estimate import Calibration, Step, estimate, peak_memory, training, typical
from curate.evaluation.tasks import evaluate
from curate.lm.models import forward_flops
from curate.plan import merge
from curate.requests import Fit

BATCH_TOKENS = 4096  # of evaluations


def estimate_compare(**asked: Any) -> list[Step]:
    """The fits and passes of every seed's selections, then the trainings and evaluations of all arms.

    asked: as `compare` has it. Methods that pick the same rows share their arms, and arms that are in the store are not run
    again. One length-matched control is counted at each budget; what is run only where a selection beats random is not.
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
    arms = (len(design.methods) + 1) * len(design.budgets) * seeds + (seeds if design.full else 0)
    steps.append(training(f"train {arms} arms", bench.model, prepared.rows, design.recipe, calibration, times=arms))
    if design.full:
        arms += seeds
        once = [Fit(bench.model, prepared.rows, design.recipe.trained_for(1.0, seed)) for seed in design.seeds]
        # A method's fit on the whole pool serves as its arm.
        anew = [fit for fit in once if fit not in plan.fits and bench.engine.kept(fit) is None]
        if anew:
            name = f"train on the whole pool for 1 epoch, {len(anew)} times"
            steps.append(training(name, bench.model, prepared.rows, anew[0].recipe, calibration, times=len(anew)))
    return steps + _evaluations(setup, arms + 1)


def _evaluations(setup: Setup, models: int) -> list[Step]:
    bench = setup.bench
    network, tokenizer = bench.engine.load_for_training(bench.model), bench.engine.tokenizer(bench.model)
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
