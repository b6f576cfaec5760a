"""What several methods ask for, merged into the fewest fits and passes."""

from collections.abc import Iterable
from dataclasses import dataclass

from curate.lm.models import ModelSpec
from curate.lm.observables import OBSERVABLES
from curate.requests import Fit, Request, Rows


@dataclass(frozen=True)
class Pass:
    """One run of one model over one view of some rows, recording several observables."""

    model: ModelSpec | Fit
    rows: Rows
    view: str
    observables: tuple[str, ...]

    @property
    def forwards(self) -> bool:
        """False when the token ids alone tell all that is asked: then no model is loaded."""
        return any(OBSERVABLES[name].forward for name in self.observables)


@dataclass(frozen=True)
class Plan:
    """Fits before passes; every fit is of a plain model here, so that order suffices."""

    fits: tuple[Fit, ...]
    passes: tuple[Pass, ...]


def merge(requests: Iterable[Request]) -> Plan:
    """The fewest fits and passes that answer all requests, in the order in which they were first asked for.

    Equal requests are one; observables of one model, rows and view are one pass; a Fit inside an Observe is asked for.
    """
    fits: dict[Fit, None] = {}
    passes: dict[tuple[ModelSpec | Fit, Rows, str], dict[str, None]] = {}
    for request in requests:
        if isinstance(request, Fit):
            fits[request] = None
            continue
        if request.observable not in OBSERVABLES:
            raise KeyError(f"no observable is called {request.observable!r}; there are {', '.join(OBSERVABLES)}")
        if isinstance(request.model, Fit) and OBSERVABLES[request.observable].forward:
            fits[request.model] = None
        passes.setdefault((request.model, request.rows, request.view), {})[request.observable] = None
    return Plan(tuple(fits), tuple(Pass(*key, tuple(names)) for key, names in passes.items()))


def describe(request: Request) -> str:
    """A request in a few words for a person: `mean_loss of pool by base-4m`."""
    if isinstance(request, Fit):
        return f"fit {request.model.label} on {request.rows.role}"
    model = f"({describe(request.model)})" if isinstance(request.model, Fit) else request.model.label
    return f"{request.observable} of {request.rows.role} by {model}"


def base_model(model: ModelSpec | Fit) -> ModelSpec:
    """The plain model behind a fit: its tokenizer and limits hold for the fit too."""
    return model.model if isinstance(model, Fit) else model


def fit_name(fit: Fit) -> str:
    return f"fit {fit.model.label} on {fit.rows.size:,} rows of {fit.rows.role}, seed {fit.recipe.seed}"


def pass_name(step: Pass) -> str:
    who = f"the {fit_name(step.model)}" if isinstance(step.model, Fit) else step.model.label
    names = ", ".join(name for name in step.observables if OBSERVABLES[name].forward)
    return f"{names} of {step.rows.size:,} rows of {step.rows.role} by {who}"
