"""The engine: it answers what methods ask for, out of the store where it can, by passes and fits where it must."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from curate import gradients, progress
from curate.answers import Seen
from curate.embedding.record import EMBED_VERSION, Encode
from curate.embedding.record import record as record_embeddings
from curate.embedding.sentence import ENCODER_FILES, SentenceModel, encoder_folder
from curate.embedding.tfidf import TfidfModel
from curate.errors import CurateError, InputError
from curate.fits import kept_fit
from curate.generations import REPLY_TYPE, REPLY_VERSION, record_replies
from curate.jobs import Job
from curate.lm.encodings import Encodings
from curate.lm.models import ModelSpec, context_length, forward_flops, resolve_device
from curate.lm.observables import FORWARD_VERSION, OBSERVABLES, POOLED, TOKEN_LOGPROBS
from curate.lm.views import CONVERSATION, RESPONSE, VIEW_VERSION, PairView, RowView, View, printed_once, start_token
from curate.lm.weights import WEIGHT_VERSION
from curate.method import Data, Method
from curate.passes import record
from curate.plan import (
    Pass,
    Plan,
    base_model,
    embed_name,
    fit_name,
    gradient_name,
    labels_of,
    lineage,
    merge,
    pass_name,
    replies_name,
    resolved,
    vocabulary,
)
from curate.pools import Pools
from curate.registry import label
from curate.requests import (
    Checkpoint,
    Embed,
    Fit,
    FittedModel,
    Generate,
    Gradients,
    Model,
    Pairs,
    Replies,
    Request,
    Rows,
    SentenceEncoder,
    Subset,
    Vocabulary,
)
from curate.signals import RowScore, RowTokens, RowVector, as_vectors
from curate.stages import Stage
from curate.store import RowArtifact
from curate.training.config import TrainConfig, expected_steps
from curate.training.folders import model_checkpoints

if TYPE_CHECKING:
    from transformers import PreTrainedModel


SHARD_TOKENS = 100_000  # what a killed pass loses at most


@dataclass
class Engine(Pools):
    """Holds what the jobs of one run share: the store, the models, the executor, and the pools by handle."""

    batch_tokens: int = 4096
    refit: str = "drift"
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.refit not in ("never", "drift", "always"):
            raise InputError(f"refit {self.refit!r} is not one of never, drift, always")
        super().__post_init__()
        self._failed: dict[Pass | Gradients, dict[str, str]] = {}  # rows that a pass of this run could not do, and why

    # What identifies things -------------------------------------------------------------------------------------------

    def model_hash(self, model: Model) -> str:
        """The fingerprint of a model's weights; for a fit, the address of the artifact that serves it."""
        if isinstance(model, Checkpoint):
            return f"{self.fitted(model.fit).address}/{model.number}"
        return self.fitted(model).address if isinstance(model, Fit) else self.weights_hash(model)

    def fit_spec(self, fit: Fit | Vocabulary) -> dict[str, Any]:
        from curate.training.config import TRAIN_VERSION

        if isinstance(fit, Vocabulary):
            learned = {"dimensions": fit.dimensions, "view": fit.view, "rows": self._fingerprint(fit.rows)}
            return {"kind": "tfidf", "version": EMBED_VERSION, **learned}
        return {
            "kind": "fit",
            "version": TRAIN_VERSION,
            "model": self.model_hash(fit.model),
            "encoding": self.encoding_spec(base_model(fit)),
            "recipe": self.recipe_spec(fit.recipe),
            "rows": self._fingerprint(fit.rows),
            **({"weights": WEIGHT_VERSION} if self.weighted(fit.rows) else {}),
            **({"tokens": fit.tokens.fingerprint} if fit.tokens else {}),
            **({"labels": labels} if (labels := labels_of(fit.rows)) else {}),
        }

    def recipe_spec(self, recipe: TrainConfig) -> dict[str, Any]:
        """What the weights of a training depend on among its settings, the reference model by what it is."""
        named = recipe.reference
        return {**recipe.identity(), **({"reference": self._reference_hash(ModelSpec(named))} if named else {})}

    def _reference_hash(self, model: ModelSpec) -> str:
        """As `model_hash`; a fit of this store that is named by its folder is still that fit."""
        folder = model.folder()
        kept = folder.parent.parent.resolve() == (self.store.root / "fits").resolve()
        return folder.parent.name if kept else self.weights_hash(model)

    def _fingerprint(self, rows: Rows | Subset) -> str:
        """Of the rows' ids; a subset's is that of a pool of these rows."""
        return self.pool_of(rows).fingerprint if isinstance(rows, Subset) else rows.fingerprint

    def observable_spec(self, step: Pass, name: str) -> dict[str, Any]:
        return self._observable_spec(self.model_hash(step.model), base_model(step.model), step.view, name)

    def _observable_spec(self, weights: str, encoded_for: ModelSpec, view: str, name: str) -> dict[str, Any]:
        return {
            "kind": "observable",
            "observable": name,
            "version": [OBSERVABLES[name].version, FORWARD_VERSION],
            "model": weights,
            "encoding": self.encoding_spec(encoded_for),
            "view": [view, VIEW_VERSION],
            "dtype": self.pass_dtype,
        }

    def replies_spec(self, asked: Generate) -> dict[str, Any]:
        return {
            "kind": "reply",
            "version": [REPLY_VERSION, FORWARD_VERSION],
            "model": self.model_hash(asked.model),
            "encoding": self.encoding_spec(base_model(asked.model)),
            "max_new_tokens": asked.max_new_tokens,
            "dtype": self.pass_dtype,
        }

    def embedding_spec(self, embed: Embed) -> dict[str, Any]:
        """Of a resolved request for vectors of texts."""
        words = vocabulary(embed)
        if words is not None:
            model = self.serving(words)[0].name
        else:
            assert isinstance(embed.embedder, SentenceEncoder)
            model = self._hash(encoder_folder(embed.embedder.name), ENCODER_FILES)
        return {"kind": "embedding", "version": EMBED_VERSION, "model": model, "view": embed.view}

    # Answering methods ------------------------------------------------------------------------------------------------

    def gather(self, methods: Sequence[Method], data: Data) -> Seen:
        """Answer the methods' requests in rounds until none asks for anything new."""
        seen = Seen(self.answer)
        while True:
            asked = {label(method): method.requests(data, seen) for method in methods}
            new = [request for requests in asked.values() for request in requests if request not in seen.known]
            if not new:
                return seen
            self.execute(merge(new))
            for name, requests in asked.items():
                seen.asked.setdefault(name, {}).update(dict.fromkeys(requests))
            seen.known.update(new)

    def cost(self, seen: Seen, method: Method) -> tuple[float, float]:
        """(seconds, FLOPs) of computing all that a method asked for, for its rows, whichever run did it.

        A pass or fit that methods share counts in full for each. Readers of texts have no FLOPs to speak of.
        """
        plan = merge(seen.asked.get(label(method), {}))
        accounts = [self.fitted(fit).account for fit in plan.fits]
        seconds = sum(account["seconds"] for account in accounts)
        flops = sum(account["flops"] for account in accounts)
        for step in plan.passes:
            ids = self.ids(step.rows)
            seconds += max((self.artifact(step, name).seconds(ids) for name in step.recorded), default=0.0)
            flops += forward_flops(base_model(step.model), self.forwarded(step)) if step.forwards else 0.0
        for asked in plan.replies:
            seconds += self.replies(asked).seconds(self.ids(asked.rows))
            flops += forward_flops(
                base_model(asked.model), int(self.encodings(base_model(asked.model), asked.rows).lengths.sum())
            )
        for request in plan.gradients:
            seconds += gradients.artifact(self, request).seconds(self.ids(request.rows))
            flops += gradients.flops(request, int(self.encodings(base_model(request.model), request.rows).lengths.sum()))
        seconds += sum(_account(self.serving(words)[0])["seconds"] for words in plan.vocabularies)
        return seconds + sum(self.vectors(embed).seconds(self.ids(embed.rows)) for embed in plan.embeds), flops

    def answer(self, request: Request) -> Any:
        """What a request is answered with; see the requests."""
        request = resolved(request)
        if isinstance(request, Fit):
            return self.fitted(request)
        if isinstance(request, Embed):
            return self._embedded(request)
        if isinstance(request, Generate):
            return self._replied(request)
        if isinstance(request, Gradients):
            return self._projected(request)
        observable = OBSERVABLES[request.observable]
        step = Pass(request.model, request.rows, request.view, (request.observable,))
        if not observable.forward:
            rows = self.view(step).take(np.arange(step.rows.size))
            pairs = zip(rows.lengths, rows.response_lengths, strict=True)
            return RowScore.of(np.array([observable.reduce(total, scored) for total, scored in pairs], dtype=np.float64))
        return self._observed(step)

    def _observed(self, step: Pass) -> RowScore | RowVector | RowTokens:
        """The one observable of a pass, from the store; null where the pass failed on a row."""
        observable, view = OBSERVABLES[step.observables[0]], self.view(step)
        failed = self._failures(step)
        ids = [row_id for row_id in view.row_ids if row_id not in failed]
        table = self.artifact(step, observable.name).get(ids)
        reasons = np.array([failed.get(row_id) for row_id in view.row_ids], dtype=object)
        there = np.flatnonzero(reasons == None)  # noqa: E711 (elementwise)
        reasons[there] = table["reason"].to_pylist()
        if not pa.types.is_list(observable.type):
            numbers = np.full(len(view), np.nan)
            numbers[there] = table["value"].to_numpy(zero_copy_only=False)
            return RowScore(numbers, reasons)
        if observable.vector:
            return as_vectors(table["value"], there, reasons)
        arrays: list[np.ndarray | None] = [None] * len(view)
        for i, value in zip(there.tolist(), table["value"].to_pylist(), strict=True):
            arrays[i] = None if value is None else np.asarray(value, np.float32)
        return RowTokens(arrays, reasons)

    def _embedded(self, embed: Embed) -> RowVector:
        table = self.vectors(embed).get(self.ids(embed.rows))
        return as_vectors(table["value"], np.arange(len(table)), np.array(table["reason"].to_pylist(), dtype=object))

    def _replied(self, asked: Generate) -> Replies:
        table = self.replies(asked).get(self.ids(asked.rows))
        said = [value or {"text": None, "mean_loss": np.nan, "overlap": np.nan} for value in table["value"].to_pylist()]
        loss, overlap = (np.array([value[name] for value in said], dtype=np.float64) for name in ("mean_loss", "overlap"))
        reasons = np.array(table["reason"].to_pylist(), dtype=object)
        return Replies([value["text"] for value in said], loss, overlap, reasons)

    def _projected(self, request: Gradients) -> RowVector:
        ids, failed = self.ids(request.rows), self._failures(request)
        table = gradients.artifact(self, request).get([row_id for row_id in ids if row_id not in failed])
        reasons = np.array([failed.get(row_id) for row_id in ids], dtype=object)
        there = np.flatnonzero(reasons == None)  # noqa: E711 (elementwise)
        reasons[there] = table["reason"].to_pylist()
        return as_vectors(table["value"], there, reasons)

    def execute(self, plan: Plan) -> None:
        """Run the fits, then the passes, embeds and gradients, of a plan; what the store has is not run."""
        for _, generation in groupby(sorted(plan.fits, key=_generation), key=_generation):
            fits = [fit for fit in generation if self.kept(fit) is None]
            self.executor.run([Job("fit", fit_name(fit), partial(self._run_fit, fit)) for fit in fits])
        todo = {step: missing for step in plan.passes if step.forwards and (missing := len(self.missing(step)))}
        self.executor.run([Job("pass", pass_name(step, todo[step]), partial(self._run_pass, step)) for step in todo])
        for step in plan.passes:
            if step.forwards and step not in todo:
                self.stages.append(Stage("pass", pass_name(step), reused_rows=step.rows.size))
        for asked in plan.replies:
            if missing := len(self.missing_replies(asked)):
                self.executor.run([Job("replies", replies_name(asked, missing), partial(self._run_replies, asked))])
            else:
                self.stages.append(Stage("replies", replies_name(asked), reused_rows=asked.rows.size))
        for embed in plan.embeds:
            if missing := len(self.missing_vectors(embed)):
                self.executor.run([Job("embed", embed_name(embed, missing), partial(self._run_embed, embed))])
            else:
                self.stages.append(Stage("embed", embed_name(embed), reused_rows=embed.rows.size))
        for request in plan.gradients:
            if missing := len(self.missing_gradients(request)):
                self.executor.run([Job("gradients", gradient_name(request, missing), partial(self._run_gradients, request))])
            else:
                self.stages.append(Stage("gradients", gradient_name(request), reused_rows=request.rows.size))

    def view(self, step: Pass) -> View:
        """The rows or pairs of a pass as its model sees them."""
        model = base_model(step.model)
        if isinstance(step.rows, Pairs):
            rows, examples = self.encodings(model, step.rows.rows), self.encodings(model, step.rows.examples)
            once = printed_once(self.tokenizer(model))
            return PairView.of(rows, examples, step.rows.index, self.pair_limit(model), once)
        start = start_token(self.tokenizer(model)) if step.view == RESPONSE else None
        return RowView.of(self.encodings(model, step.rows), step.view, start)

    def missing(self, step: Pass) -> np.ndarray:
        """Positions of the rows for which an observable of the pass was not computed yet, nor tried in this run."""
        ids, failed = self.ids(step.rows), self._failures(step)
        lacks = np.zeros(len(ids), dtype=bool)
        for name in step.recorded:
            lacks |= self.artifact(step, name).positions(ids) < 0
        if failed:
            lacks &= np.array([row_id not in failed for row_id in ids])
        return np.flatnonzero(lacks)

    def forwarded(self, step: Pass, index: np.ndarray | None = None) -> int:
        """Tokens that the model of a pass runs over for the rows at these positions, None for all."""
        view = self.view(step)
        pooled = any(name in POOLED for name in step.needs)
        return view.forwarded(np.arange(len(view)) if index is None else index, SHARD_TOKENS, pooled)

    def artifact(self, step: Pass, name: str) -> RowArtifact:
        return self.store.rows(self.observable_spec(step, name), OBSERVABLES[name].type)

    def vectors(self, embed: Embed) -> RowArtifact:
        return self.store.rows(self.embedding_spec(embed), pa.list_(pa.float32()))

    def missing_vectors(self, embed: Embed) -> np.ndarray:
        """Positions of the rows that have no vector yet: all of them where the words are still to be learned."""
        words = vocabulary(embed)
        if words is not None and self.kept(words) is None:
            return np.arange(embed.rows.size)
        return np.flatnonzero(self.vectors(embed).positions(self.ids(embed.rows)) < 0)

    def replies(self, asked: Generate) -> RowArtifact:
        return self.store.rows(self.replies_spec(asked), REPLY_TYPE)

    def missing_replies(self, asked: Generate) -> np.ndarray:
        """Positions of the rows that were not replied to yet."""
        return np.flatnonzero(self.replies(asked).positions(self.ids(asked.rows)) < 0)

    def missing_gradients(self, request: Gradients) -> np.ndarray:
        """Positions of the rows whose gradient was not computed yet, nor tried in this run."""
        ids, failed = self.ids(request.rows), self._failures(request)
        lacks = gradients.artifact(self, request).positions(ids) < 0
        return np.flatnonzero(lacks & np.array([row_id not in failed for row_id in ids]))

    def _failures(self, step: Pass | Gradients) -> dict[str, str]:
        return self._failed.setdefault(replace(step, observables=()) if isinstance(step, Pass) else step, {})

    def _run_pass(self, step: Pass) -> None:
        view, missing = self.view(step), self.missing(step)
        total = self.forwarded(step, missing)
        name = pass_name(step, len(missing))
        with self.stage("pass", pass_name(step)) as stage, progress.task(name, total, "tokens") as advance:
            result = record(
                self.load(step.model),
                view,
                missing,
                {name: self.artifact(step, name) for name in step.recorded},
                batch_tokens=self.batch_tokens,
                shard_tokens=SHARD_TOKENS,
                progress=advance,
            )
            stage.computed_rows, stage.reused_rows, stage.tokens = len(missing), len(view) - len(missing), result.tokens
            stage.flops = forward_flops(base_model(step.model), result.tokens)
        self._failures(step).update(result.failed)
        self.mark_computed(step.rows, missing)

    def _run_replies(self, asked: Generate) -> None:
        model, missing = base_model(asked.model), self.missing_replies(asked)
        rows, name = self.encodings(model, asked.rows), replies_name(asked, len(missing))
        total = int(rows.lengths[missing].sum())
        with self.stage("replies", replies_name(asked)) as stage, progress.task(name, total, "tokens") as advance:
            stage.tokens = record_replies(
                self.load(asked.model),
                self.tokenizer(model),
                rows,
                missing,
                self.replies(asked),
                max_new_tokens=asked.max_new_tokens,
                context=context_length(model.folder()),
                batch_tokens=self.batch_tokens,
                shard_tokens=SHARD_TOKENS,
                progress=advance,
            )
            stage.computed_rows, stage.reused_rows = len(missing), len(rows) - len(missing)
            stage.flops = forward_flops(model, stage.tokens)
        self.mark_computed(asked.rows, missing)

    def _run_gradients(self, request: Gradients) -> None:
        encodings, missing = self.encodings(base_model(request.model), request.rows), self.missing_gradients(request)
        name, total = gradient_name(request, len(missing)), int(encodings.lengths[missing].sum())
        with self.stage("gradients", gradient_name(request)) as stage, progress.task(name, total, "tokens") as advance:
            network, moments = gradients.adapted(self, request)
            result = gradients.record(
                network, moments, encodings, missing, request.config, gradients.artifact(self, request),
                batch_tokens=self.batch_tokens, shard_tokens=SHARD_TOKENS, progress=advance,
            )  # fmt: skip
            stage.computed_rows, stage.reused_rows, stage.tokens = len(missing), len(encodings) - len(missing), result.tokens
            stage.flops = gradients.flops(request, result.tokens)
        self._failures(request).update(result.failed)
        self.mark_computed(request.rows, missing)

    def _run_embed(self, embed: Embed) -> None:
        encode, missing, size = self.encoder(embed), self.missing_vectors(embed), embed.rows.size
        name = embed_name(embed, len(missing))
        with self.stage("embed", embed_name(embed)) as stage, progress.task(name, len(missing)) as advance:
            record_embeddings(encode, self.pool_of(embed.rows), embed.view, missing, self.vectors(embed), advance)
            stage.computed_rows, stage.reused_rows = len(missing), size - len(missing)
        self.mark_computed(embed.rows, missing)

    def encoder(self, embed: Embed) -> Encode:
        """What embeds texts; the words and weights of TF-IDF are learned here when none serve."""
        words = vocabulary(embed)
        if words is not None:
            if self.kept(words) is None:
                self._learn(words)
            return TfidfModel.load(self.serving(words)[0]).encode
        assert isinstance(embed.embedder, SentenceEncoder)
        self.unload()
        return SentenceModel(embed.embedder.name, resolve_device(self.device)).encode

    def _learn(self, words: Vocabulary) -> None:
        def build(folder: Path) -> None:
            with self.stage("fit", fit_name(words)) as stage:
                TfidfModel.fit(self.texts(words.rows, words.view), words.dimensions).save(folder)
                stage.computed_rows = words.rows.size
            _keep(folder, self.ids(words.rows), {"seconds": stage.seconds})

        self.store.make("fits", self.fit_spec(words), build)

    def _run_fit(self, fit: Fit) -> None:
        def build(folder: Any) -> None:
            from curate.training.trainer import save_model

            base, output = base_model(fit), folder if fit.recipe.save_checkpoints else None
            encodings = self.encodings(base, fit.rows)
            if fit.tokens is not None:
                encodings = encodings.with_token_weights(fit.tokens.weights)
            result = self.train(fit.model, encodings, fit.recipe, fit_name(fit), output)
            save_model(result.model, folder / "model", self.tokenizer(base))
            _keep(folder, self.pool_of(fit.rows).row_ids, result.account())

        self.store.make("fits", self.fit_spec(fit), build)
        self.mark_computed(fit.rows)

    def train(
        self,
        model: Model,
        encodings: Encodings,
        recipe: TrainConfig,
        name: str,
        output: Path | None = None,
        *,
        resume: bool = False,
    ) -> Any:
        """Fine-tune a fresh copy of the model; a TrainResult. Its weights are the caller's to keep.

        A reply counts by the weight of its message.
        output  the folder for the recipe's checkpoints; without one there are none, and the weights are the same.
        resume  go on from the last state in `output`, and leave states there by `recipe.checkpoint_steps`; else none are left.
        """
        from curate.training.trainer import train

        recipe = recipe.model_copy(
            update=({} if resume else {"checkpoint_steps": None}) | ({} if output else {"save_checkpoints": 0})
        )
        losses = self.reference_losses(base_model(model), ModelSpec(recipe.reference), encodings) if recipe.reference else None
        network = self.load_for_training(base_model(model), recipe, self.folder(model))
        done, steps = 0, expected_steps(recipe, encodings.lengths)
        with self.stage("train", name) as stage, progress.task(name, steps, "steps") as advance:

            def step(now: int, total: int) -> None:
                nonlocal done
                advance(now - done)
                done = now

            weights, tokenizer = encodings.token_weights(), self.tokenizer(base_model(model))
            given: dict[str, Any] = {"weights": weights, "reference": losses, "output": output, "resume": resume}
            result = train(network, tokenizer, encodings, recipe, **given, progress=step)
            stage.computed_rows, stage.tokens, stage.flops = len(encodings), result.tokens, result.flops
        return result

    def reference_losses(self, model: ModelSpec, reference: ModelSpec, encodings: Encodings) -> list[np.ndarray]:
        """float32 [R] per row: the loss that a reference gives each scored token of rows encoded for a model, in nats.

        They are kept like what any pass records. Raises InputError where the two models have other tokens, and where the
        reference fails on a row.
        """
        if self.tokenizer(reference).get_vocab() != self.tokenizer(model).get_vocab():
            raise InputError(f"reference: {reference.label} has other tokens than {model.label}, so their losses do not compare")
        rows = encodings.take(np.unique(np.array(encodings.row_ids, dtype=object), return_index=True)[1])
        view = RowView.of(rows, CONVERSATION)
        key = self._reference_hash(reference)
        kept = self.store.rows(self._observable_spec(key, model, CONVERSATION, "token_logprobs"), TOKEN_LOGPROBS.type)
        missing = np.flatnonzero(kept.positions(rows.row_ids) < 0)
        failed: dict[str, str] = {}
        if len(missing):
            name, total = f"token_logprobs of the rows by {reference.label}", int(view.lengths[missing].sum())
            with self.stage("pass", name) as stage, progress.task(name, total, "tokens") as advance:
                network = self.load_for_pass(key, reference.folder(), trust_remote_code=reference.trust_remote_code)
                result = record(
                    network, view, missing, {"token_logprobs": kept},
                    batch_tokens=self.batch_tokens, shard_tokens=SHARD_TOKENS, progress=advance,
                )  # fmt: skip
                stage.computed_rows, stage.tokens, failed = len(missing), result.tokens, result.failed
                stage.flops = forward_flops(reference, result.tokens)
        for row_id, reason in failed.items():
            raise InputError(f"reference: {reference.label} has no losses of row {row_id}: {reason}")
        found = dict(zip(rows.row_ids, kept.get(rows.row_ids)["value"].to_pylist(), strict=True))
        # A row with nothing to score has a null there.
        return [-np.array(found[row_id] or [], dtype=np.float32) for row_id in encodings.row_ids]

    def fitted(self, fit: Fit) -> FittedModel:
        """The artifact that serves a fit. Raises CurateError when it was not made yet."""
        folder, note = self.serving(fit)
        return FittedModel(folder / "model", folder.name, _account(folder), note, tuple(model_checkpoints(folder).values()))

    def serving(self, fit: Fit | Vocabulary) -> tuple[Path, str | None]:
        """The folder of what serves a fit, and a note where it was made on other rows. CurateError when there is none."""
        kept = self.kept(fit)
        if kept is None:
            raise CurateError(f"{fit_name(fit)} was asked about before it was made")
        folder, drift = kept
        note: str | None = None
        if drift:
            note = f"{fit_name(fit)}: the fit {folder.name} was kept although {drift:.1%} of the rows have changed"
            self.note(note)
        return folder, note

    def note(self, text: str) -> None:
        """Say something about the run, once: people see it, and the manifest keeps it."""
        if text not in self.notes:
            self.notes.append(text)

    def kept(self, fit: Fit | Vocabulary) -> tuple[Path, float] | None:
        """(folder, share of rows changed) of the fit that serves, by the rule of `refit`; None when one must be made."""
        if isinstance(fit, Fit) and any(self.kept(before) is None for before in lineage(fit)[-2:-1]):
            return None  # what it goes on from must be made first
        row_ids = self.pool_of(fit.rows).row_ids if self.knows(fit.rows) else ()
        return kept_fit(self.store, self.fit_spec(fit), row_ids, self.refit)

    def folder(self, model: Model) -> Path:
        """Where a model's weights are. CurateError for a fit that was not made yet."""
        if isinstance(model, Checkpoint):
            return self.fitted(model.fit).checkpoints[model.number - 1]
        return self.fitted(model).folder if isinstance(model, Fit) else model.folder()

    def load(self, model: Model) -> "PreTrainedModel":
        """A model for passes, kept until another is asked for."""
        trust = base_model(model).trust_remote_code
        return self.load_for_pass(self.model_hash(model), self.folder(model), trust_remote_code=trust)


def _generation(fit: Fit) -> int:
    """How many fits a fit goes on from: those of one generation do not need each other."""
    return len(lineage(fit))


def _keep(folder: Path, row_ids: Sequence[str], account: dict[str, float]) -> None:
    """Beside what was learned: on which rows, and what it took."""
    (folder / "rows.txt").write_text("\n".join(row_ids))
    (folder / "fit.json").write_text(json.dumps(account))


def _account(folder: Path) -> dict[str, float]:
    return json.loads((folder / "fit.json").read_text())
