"""Models that a run learns on the way: what identifies them, which one serves, how one is made."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from curate import progress
from curate.embedding.record import EMBED_VERSION
from curate.embedding.tfidf import TfidfModel
from curate.errors import CurateError, InputError
from curate.fits import keep_rows, kept_account, kept_fit
from curate.lm.encodings import Encodings
from curate.lm.models import ModelSpec, forward_flops
from curate.lm.observables import FORWARD_VERSION, OBSERVABLES, TOKEN_LOGPROBS
from curate.lm.views import CONVERSATION, VIEW_VERSION, RowView
from curate.lm.weights import WEIGHT_VERSION
from curate.passes import record
from curate.plan import base_model, fit_name, labels_of, lineage
from curate.pools import Pools
from curate.requests import Checkpoint, Fit, FittedModel, Model, Rows, Subset, Vocabulary
from curate.store import RowArtifact
from curate.training.config import TrainConfig, expected_steps
from curate.training.folders import model_checkpoints

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass
class Fitting(Pools):
    """Holds pools, and the fits made of them. refit: when a fit on a pool that changed is made anew; see fits.py."""

    batch_tokens: int = 4096
    refit: str = "drift"
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.refit not in ("never", "drift", "always"):
            raise InputError(f"refit {self.refit!r} is not one of never, drift, always")
        super().__post_init__()
        self._failed: dict[Path, dict[str, str]] = {}
        self._served: dict[Fit | Vocabulary, tuple[Path, float]] = {}  # until another fit is made, which may serve better

    def failures(self, artifact: RowArtifact) -> dict[str, str]:
        """row id -> why this run could not compute what the artifact lacks of it; to be added to."""
        return self._failed.setdefault(artifact.folder, {})

    def model_hash(self, model: Model) -> str:
        """The fingerprint of a model's weights; for a fit, the address of the artifact that serves it."""
        if isinstance(model, Checkpoint):
            return f"{self.fitted(model.fit).address}/{model.number}"
        return self.fitted(model).address if isinstance(model, Fit) else self.weights_hash(model)

    def fit_spec(self, fit: Fit | Vocabulary) -> dict[str, Any]:
        """What a fit depends on, and so its address; `rows` is of their ids. CurateError where its model was not made yet."""
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

    def observable_spec(self, weights: str, encoded_for: ModelSpec, view: str, name: str) -> dict[str, Any]:
        """What the values of an observable depend on beside the row. weights: the fingerprint of the model that runs."""
        return {
            "kind": "observable",
            "observable": name,
            "version": [OBSERVABLES[name].version, FORWARD_VERSION],
            "model": weights,
            "encoding": self.encoding_spec(encoded_for),
            "view": [view, VIEW_VERSION],
            "dtype": self.pass_dtype,
        }

    def fitted(self, fit: Fit) -> FittedModel:
        """The artifact that serves a fit. Raises CurateError when it was not made yet."""
        folder, note = self.serving(fit)
        return FittedModel(folder / "model", folder.name, kept_account(folder), note, tuple(model_checkpoints(folder).values()))

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
        """(folder, share of rows changed) of the fit that serves, by the rule of `refit`; None when one must be made.

        What was found is remembered until another fit is made, so that a chain of k fits is looked up in k steps.
        """
        if fit in self._served:
            return self._served[fit]
        if isinstance(fit, Fit) and any(self.kept(before) is None for before in lineage(fit)[-2:-1]):
            return None  # what it goes on from must be made first
        row_ids = self.pool_of(fit.rows).row_ids if self.knows(fit.rows) else ()
        whole = not isinstance(fit.rows, Subset)
        found = kept_fit(self.store, self.fit_spec(fit), row_ids, self.refit, whole=whole)
        if found is not None:
            self._served[fit] = found
        return found

    def folder(self, model: Model) -> Path:
        """Where a model's weights are. CurateError for a fit that was not made yet."""
        if isinstance(model, Checkpoint):
            return self.fitted(model.fit).checkpoints[model.number - 1]
        return self.fitted(model).folder if isinstance(model, Fit) else model.folder()

    def load(self, model: Model) -> "PreTrainedModel":
        """A model for passes, kept until another is asked for."""
        return self.load_for_pass(self.model_hash(model), self.folder(model))

    def account(self, fit: Fit | Vocabulary) -> dict[str, float]:
        """What making a fit took."""
        return kept_account(self.serving(fit)[0])

    def make_fit(self, fit: Fit) -> None:
        """Train it and keep the model, its checkpoints, the row ids and the account, unless there is one of these very rows.

        What it goes on from must have been made. Raises as `curate.training.trainer.train`.
        """

        def build(folder: Any) -> None:
            from curate.training.trainer import save_model

            base, output = base_model(fit), folder if fit.recipe.save_checkpoints else None
            encodings = self.encodings(base, fit.rows)
            if fit.tokens is not None:
                encodings = encodings.with_token_weights(fit.tokens.weights)
            result = self.train(fit.model, encodings, fit.recipe, fit_name(fit), output)
            save_model(result.model, folder / "model", self.tokenizer(base))
            self._keep(folder, fit, result.account())

        self.store.make("fits", self.fit_spec(fit), build)
        self._served.clear()
        self.mark_computed(fit.rows)

    def learn(self, words: Vocabulary) -> None:
        """The same of words, which are learned by TF-IDF."""

        def build(folder: Path) -> None:
            with self.stage("fit", fit_name(words)) as stage:
                TfidfModel.fit(self.texts(words.rows, words.view), words.dimensions).save(folder)
                stage.computed_rows = words.rows.size
            self._keep(folder, words, {"seconds": stage.seconds})

        self.store.make("fits", self.fit_spec(words), build)
        self._served.clear()

    def _keep(self, folder: Path, fit: Fit | Vocabulary, account: dict[str, float]) -> None:
        keep_rows(folder, self.pool_of(fit.rows).row_ids, account, whole=not isinstance(fit.rows, Subset))

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
        kept = self.store.rows(self.observable_spec(key, model, CONVERSATION, "token_logprobs"), TOKEN_LOGPROBS.type)
        missing = np.flatnonzero(kept.positions(rows.row_ids) < 0)
        failed: dict[str, str] = {}
        if len(missing):
            name, total = f"token_logprobs of the rows by {reference.label}", int(view.lengths[missing].sum())
            with self.stage("pass", name) as stage, progress.task(name, total, "tokens") as advance:
                network = self.load_for_pass(key, reference.folder())
                result = record(
                    network, view, missing, {"token_logprobs": kept}, batch_tokens=self.batch_tokens, progress=advance
                )
                stage.computed_rows, stage.tokens, failed = len(missing), result.tokens, result.failed
                stage.flops = forward_flops(reference, result.tokens)
        for row_id, reason in failed.items():
            raise InputError(f"reference: {reference.label} has no losses of row {row_id}: {reason}")
        found = dict(zip(rows.row_ids, kept.get(rows.row_ids)["value"].to_pylist(), strict=True))
        # A row with nothing to score has a null there.
        return [-np.array(found[row_id] or [], dtype=np.float32) for row_id in encodings.row_ids]
