"""What pieces of a search will take, measured by a few batches and steps of each."""

from collections.abc import Sequence
from dataclasses import replace

from curate.automatic.schedule import Rates
from curate.comparison.arms import Bench
from curate.comparison.choosing import Cost
from curate.comparison.design import Setup
from curate.comparison.estimate import evaluations
from curate.estimate import Calibration, Step, estimate, full_flops
from curate.method import Method
from curate.plan import merge
from curate.preparation import within
from curate.registry import label
from curate.requests import Request


def measured(setup: Setup, confirming: Bench, methods: Sequence[Method], seed: int) -> Rates:
    """The rates of a search. What the store has costs nothing; what methods ask for in later rounds is not known yet.

    confirming: the bench of the confirmation. Raises InputError where a method cannot do with what there is.
    """
    bench, recipe = setup.bench, setup.design.recipe
    calibration = Calibration(bench.engine)
    scoring = {label(method): _scoring(setup, [method], seed, calibration) for method in methods}
    together = _scoring(setup, methods, seed, calibration)
    speed = calibration.training(bench.model, setup.prepared.rows, recipe)
    flops = full_flops(bench.model, recipe, 1)
    once = [_total(evaluations(each, 1)) for each in (bench, confirming)]
    return Rates(Cost(speed.setup, 0.0), Cost(speed.per_unit, flops), once[0], once[1], scoring, together)


def _scoring(setup: Setup, methods: Sequence[Method], seed: int, calibration: Calibration) -> tuple[Cost, Cost]:
    """What methods ask for, for the first seed and for each further one."""
    largest = max(setup.design.budgets, key=lambda b: b.limit(setup.prepared.table["tokens"].to_numpy()).capacity)

    def asked_of(number: int) -> list[Request]:
        parts = [(method, within(setup.prepared, method, largest).data) for method in methods]
        return [request for method, data in parts for request in method.requests(replace(data, seed=number), {})]

    asked = [asked_of(number) for number in (seed, seed + 1)]
    one = _total(estimate(merge(asked[0]), calibration))
    both = _total(estimate(merge([*asked[0], *asked[1]]), calibration))
    return one, Cost(max(0.0, both.seconds - one.seconds), max(0.0, both.flops - one.flops))


def _total(steps: Sequence[Step]) -> Cost:
    return Cost(sum(step.seconds for step in steps), sum(step.flops for step in steps))
