"""The engine: it answers what methods ask for, out of the store where it can, by fits and row-wise work where it must."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

from curate.answers import Seen
from curate.fitting import Fitting
from curate.jobs import Job
from curate.method import Data, Method
from curate.plan import Pass, Plan, fit_name, lineage, merge, resolved
from curate.pool.prompts import prompt_keys
from curate.registry import label
from curate.requests import Fit, Observe, Prompts, Request
from curate.work import RowWork, work_of, works


@dataclass
class Engine(Fitting):
    """Holds what the jobs of one run share: the store, the models, the executor, and the pools by handle."""

    def gather(self, methods: Sequence[Method], data: Data) -> Seen:
        """Answer the methods' requests in rounds until none asks for anything new."""
        seen = Seen(self.answer)
        while True:
            asked = {label(method): method.requests(data, seen) for method in methods}
            for name, requests in asked.items():
                seen.asked.setdefault(name, {}).update(dict.fromkeys(requests))
            new = [request for requests in asked.values() for request in requests if request not in seen.known]
            if not new:
                return seen
            self.execute(merge(new))
            seen.known.update(new)

    def cost(self, seen: Seen, method: Method) -> tuple[float, float]:
        """(seconds, FLOPs) of computing all that a method asked for, for its rows, whichever run did it; NaN: not known.

        A pass or fit that methods share counts in full for each.
        """
        plan = merge(seen.asked.get(label(method), {}))
        accounts = [self.account(fit) for fit in plan.fits]
        costs = [work.cost() for work in works(self, plan)]
        seconds = sum(account["seconds"] for account in accounts) + sum(seconds for seconds, _ in costs)
        before = method.spent()
        flops = sum(account["flops"] for account in accounts) + sum(flops for _, flops in costs)
        return seconds + before[0], flops + before[1]

    def answer(self, request: Request) -> Any:
        """What a request is answered with; see the requests."""
        request = resolved(request)
        if isinstance(request, Prompts):
            return prompt_keys(self.pool_of(request.rows))
        return self.fitted(request) if isinstance(request, Fit) else self.work(request).answer()

    def work(self, request: Request) -> RowWork:
        """How a request for anything but a fit is worked on."""
        request = resolved(request)
        assert not isinstance(request, Fit | Prompts)
        if isinstance(request, Observe):
            return work_of(self, Pass(request.model, request.rows, request.view, (request.observable,)))
        return work_of(self, request)

    def execute(self, plan: Plan) -> None:
        """Run the fits of a plan, then its row-wise work; what the store has is not run."""
        for _, generation in groupby(sorted(plan.fits, key=_generation), key=_generation):
            fits = [fit for fit in generation if self.kept(fit) is None]
            self.executor.run([Job("fit", fit_name(fit), partial(self.make_fit, fit)) for fit in fits])
        found = [(work, len(work.missing())) for work in works(self, plan)]
        for kind, alike in groupby(found, key=lambda pair: pair[0].kind):
            parts = list(alike)
            self.executor.run([Job(kind, work.name(missing), work.run) for work, missing in parts if missing])
            self.stages += [work.reused() for work, missing in parts if not missing]


def _generation(fit: Fit) -> int:
    """How many fits a fit goes on from: those of one generation do not need each other."""
    return len(lineage(fit))
