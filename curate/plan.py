"""What several methods ask for, merged into the fewest fits and passes."""

from collections.abc import Iterable
from dataclasses import dataclass

from curate.lm.models import ModelSpec
from curate.lm.observables import OBSERVABLES
from curate.lm.views import AFTER_EXAMPLE, CONVERSATION
from curate.requests import Embed, Fit, Observe, Pairs, Request, Rows


@dataclass(frozen=True)
class Pass:
    """One run of one model over one view of some rows or pairs, recording several observables."""

    model: ModelSpec | Fit
    rows: Rows | Pairs
    view: str
    observables: tuple[str, ...]

    @property
    def forwards(self) -> bool:
        """False when the token ids alone tell all that is asked: then no model is loaded."""
        return bool(self.recorded)

    @property
    def recorded(self) -> tuple[str, ...]:
        """The observables for which a model must run."""
        return tuple(name for name in self.observables if OBSERVABLES[name].forward)

    @property
    def needs(self) -> tuple[str, ...]:
        """What the traces of the pass must have."""
        return tuple(dict.fromkeys(need for name in self.observables for need in OBSERVABLES[name].needs))


@dataclass(frozen=True)
class Plan:
    """Fits before passes; every fit is of a plain model here, so that order suffices."""

    fits: tuple[Fit, ...]
    passes: tuple[Pass, ...]


def merge(requests: Iterable[Request]) -> Plan:
    """The fewest fits and passes that answer all requests, in the order in which they were first asked for.

    Equal requests are one; observables of one model, rows and view are one pass; a Fit inside an Observe is asked for;
    hidden states as an embedding are an observable. Raises KeyError for an observable that does not exist.
    """
    fits: dict[Fit, None] = {}
    passes: dict[tuple[ModelSpec | Fit, Rows | Pairs, str], dict[str, None]] = {}
    for request in map(as_observed, requests):
        if isinstance(request, Fit):
            fits[request] = None
            continue
        if request.observable not in OBSERVABLES:
            raise KeyError(f"no observable is called {request.observable!r}; there are {', '.join(OBSERVABLES)}")
        if isinstance(request.model, Fit) and OBSERVABLES[request.observable].forward:
            fits[request.model] = None
        passes.setdefault((request.model, request.rows, request.view), {})[request.observable] = None
    return Plan(tuple(fits), tuple(Pass(*key, tuple(names)) for key, names in passes.items()))


def as_observed(request: Request) -> Fit | Observe:
    """An embedding by hidden states as the observable that it is; any other request as it stands."""
    if isinstance(request, Embed):
        return Observe(request.embedder.model, request.rows, request.embedder.observable, request.view)
    return request


def describe(request: Request) -> str:
    """A request in a few words for a person: `mean_loss of pool by base-4m`."""
    request = as_observed(request)
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
    view = "" if step.view in (CONVERSATION, AFTER_EXAMPLE) else f", {step.view.replace('_', ' ')}"
    kind = "pairs" if isinstance(step.rows, Pairs) else "rows"
    return f"{', '.join(step.recorded)} of {step.rows.size:,} {kind} of {step.rows.role}{view} by {who}"
