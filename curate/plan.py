"""What several methods ask for, merged into the fewest fits and passes."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from curate.lm.models import ModelSpec
from curate.lm.observables import OBSERVABLES
from curate.lm.views import AFTER_EXAMPLE, CONVERSATION
from curate.requests import (
    Checkpoint,
    Column,
    Embed,
    Fit,
    Generate,
    Gradients,
    HiddenStates,
    Judge,
    Model,
    Observe,
    Pairs,
    Prompts,
    Request,
    Rows,
    Subset,
    Texts,
    Tfidf,
    Told,
    Vocabulary,
)
from curate.wording import counted


@dataclass(frozen=True)
class Pass:
    """One run of one model over one view of some rows or pairs, recording several observables."""

    model: Model
    rows: Rows | Subset | Pairs
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


RowWise = Pass | Generate | Embed | Gradients | Judge


@dataclass(frozen=True)
class Plan:
    """Fits before passes, and a fit behind the one that it goes on from. Embeds are those of texts."""

    fits: tuple[Fit, ...] = ()
    passes: tuple[Pass, ...] = ()
    embeds: tuple[Embed, ...] = ()
    replies: tuple[Generate, ...] = ()
    gradients: tuple[Gradients, ...] = ()
    judgements: tuple[Judge, ...] = ()

    @property
    def rowwise(self) -> tuple[RowWise, ...]:
        """All but the fits, in the order in which it runs; passes for which no model runs are left out."""
        passes = (step for step in self.passes if step.forwards)
        return (*passes, *self.judgements, *self.replies, *self.embeds, *self.gradients)

    @property
    def vocabularies(self) -> tuple[Vocabulary, ...]:
        """What the embeds by TF-IDF are made with."""
        return tuple(dict.fromkeys(words for words in map(vocabulary, self.embeds) if words))


def merge(requests: Iterable[Request]) -> Plan:
    """The fewest fits, passes and embeds that answer all requests, in the order in which they were first asked for.

    Equal requests are one; observables of one model, rows and view are one pass; a Fit inside an Observe is asked for;
    hidden states as an embedding are an observable; what the pool itself tells needs nothing.

    Raises KeyError for an observable that does not exist.
    """
    fits: dict[Fit, None] = {}
    passes: dict[tuple[Model, Rows | Subset | Pairs, str], dict[str, None]] = {}
    embeds: dict[Embed, None] = {}
    replies: dict[Generate, None] = {}
    gradients: dict[Gradients, None] = {}
    judgements: dict[Judge, None] = {}
    for request in map(resolved, requests):
        if isinstance(request, Told):
            continue
        if isinstance(request, Fit):
            fits |= dict.fromkeys(lineage(request))
            continue
        if isinstance(request, Embed):
            embeds[request] = None
            continue
        if isinstance(request, Generate):
            fits |= dict.fromkeys(lineage(request.model))
            replies[request] = None
            continue
        if isinstance(request, Judge):
            fits |= dict.fromkeys(lineage(request.model))
            judgements[request] = None
            continue
        if isinstance(request, Gradients):
            fits |= dict.fromkeys(lineage(request.model))
            gradients[request] = None
            continue
        if request.observable not in OBSERVABLES:
            raise KeyError(f"no observable is called {request.observable!r}; there are {', '.join(OBSERVABLES)}")
        if OBSERVABLES[request.observable].forward:
            fits |= dict.fromkeys(lineage(request.model))
        passes.setdefault((request.model, request.rows, request.view), {})[request.observable] = None
    made = tuple(Pass(*key, tuple(names)) for key, names in passes.items())
    return Plan(tuple(fits), made, tuple(embeds), tuple(replies), tuple(gradients), tuple(judgements))


def resolved(request: Request) -> Request:
    """A request with nothing left open: equal work is equal here.

    An embedding by hidden states becomes the observable that it is; TF-IDF names the rows that it is learned from.
    """
    if not isinstance(request, Embed):
        return request
    embedder = request.embedder
    if isinstance(embedder, HiddenStates):
        return Observe(embedder.model, request.rows, embedder.observable, request.view)
    if isinstance(embedder, Tfidf) and embedder.rows is None:
        return replace(request, embedder=replace(embedder, rows=request.rows))
    return request


def describe(request: Request) -> str:
    """A request in a few words for a person: `mean_loss of pool by base-4m`, or `mean_loss of pool, response, by base-4m`."""
    request = resolved(request)
    if isinstance(request, Prompts):
        return f"prompts of {request.rows.role}"
    if isinstance(request, Fit):
        return f"fit {base_model(request).label} on {request.rows.role}"
    if isinstance(request, Embed):
        return f"embeddings of {request.rows.role}{_seen(request.view, ',')} by {request.embedder.label}"
    if isinstance(request, Generate):
        return f"replies to {request.rows.role} by {model_name(request.model)}"
    if isinstance(request, Texts):
        return f"texts of {request.rows.role}{_seen(request.view)}"
    if isinstance(request, Column):
        return f"column {request.name} of {request.rows.role}"
    if isinstance(request, Judge):
        what = "judgement"
    else:
        what = "gradients" if isinstance(request, Gradients) else request.observable
    model = request.model.label if isinstance(request.model, ModelSpec) else f"({describe(lineage(request.model)[-1])})"
    if isinstance(request.model, Checkpoint):
        model = f"a checkpoint of {model}"
    seen = _seen(request.view, ",") if isinstance(request, Observe | Judge) else ""
    return f"{what} of {request.rows.role}{seen} by {model}"


def lineage(model: Model) -> list[Fit]:
    """The fits behind a model in the order in which they are made; none behind a plain one."""
    if isinstance(model, Checkpoint):
        return lineage(model.fit)
    return [*lineage(model.model), model] if isinstance(model, Fit) else []


def base_model(model: Model) -> ModelSpec:
    """The plain model behind a fit: its tokenizer and limits hold for the fit too."""
    fits = lineage(model)
    first = fits[0].model if fits else model
    assert isinstance(first, ModelSpec)
    return first


def labels_of(rows: Rows | Subset) -> str | None:
    """The fingerprint of the labels of rows of which only some tokens count in training."""
    return (rows.rows if isinstance(rows, Subset) else rows).labels


def vocabulary(embed: Embed) -> Vocabulary | None:
    """What a resolved embedding by TF-IDF must have been made first; None for any other embedder."""
    embedder = embed.embedder
    if not isinstance(embedder, Tfidf):
        return None
    return Vocabulary(embedder.dimensions, embedder.rows or embed.rows, embed.view)


def fit_name(fit: Fit | Vocabulary) -> str:
    rows = f"{counted(fit.rows.size)} of {fit.rows.role}"
    if isinstance(fit, Vocabulary):
        return f"fit tfidf:{fit.dimensions} on {rows}{_seen(fit.view)}"
    again = len(lineage(fit)) - 1
    more = f", after {counted(again, 'fit')} before it" if again else ""
    return f"fit {base_model(fit).label} on {rows}, seed {fit.recipe.seed}{more}"


def pass_name(step: Pass, missing: int = 0) -> str:
    """missing: how many of the rows are to be computed, where it is not all of them."""
    who = model_name(step.model)
    noun = "pair" if isinstance(step.rows, Pairs) else "row"
    return f"{', '.join(step.recorded)} of {_some(missing, step.rows, noun)}{_seen(step.view)} by {who}"


def model_name(model: Model) -> str:
    """A model for people."""
    if isinstance(model, Checkpoint):
        return f"checkpoint {model.number} of the {fit_name(model.fit)}"
    return f"the {fit_name(model)}" if isinstance(model, Fit) else model.label


def embed_name(embed: Embed, missing: int = 0) -> str:
    """missing: as for a pass."""
    return f"embed {_some(missing, embed.rows, 'row')}{_seen(embed.view)} by {embed.embedder.label}"


def replies_name(asked: Generate, missing: int = 0) -> str:
    """missing: as for a pass."""
    rows = _some(missing, asked.rows, "row")
    return f"replies of up to {counted(asked.max_new_tokens, 'token')} to {rows} by {model_name(asked.model)}"


def judge_name(request: Judge, missing: int = 0) -> str:
    """missing: as for a pass."""
    rows = _some(missing, request.rows, "row")
    return f"{counted(len(request.behind), 'question')} about {rows}{_seen(request.view)} to {model_name(request.model)}"


def gradient_name(request: Gradients, missing: int = 0) -> str:
    """missing: as for a pass."""
    what = "gradients" if request.config.adam is None else "gradients as Adam's directions"
    return f"{what} of {_some(missing, request.rows, 'row')} by {model_name(request.model)}"


def _some(missing: int, rows: Rows | Subset | Pairs, noun: str) -> str:
    all_of_them = f"{counted(rows.size, noun)} of {rows.role}"
    return f"{missing:,} of the {all_of_them}" if 0 < missing < rows.size else all_of_them


def _seen(view: str, end: str = "") -> str:
    return "" if view in (CONVERSATION, AFTER_EXAMPLE) else f", {view.replace('_', ' ')}{end}"
