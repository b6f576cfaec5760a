"""The engine: it answers what methods ask for, out of the store where it can, by passes and fits where it must."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from curate import progress
from curate.answers import Seen
from curate.errors import CurateError, InputError
from curate.jobs import Executor, Job, Loop
from curate.lm.encode import ENCODE_VERSION, encode_rows
from curate.lm.encodings import ENCODING_TYPE, Encodings, from_arrow
from curate.lm.models import (
    TOKENIZER_FILES,
    WEIGHT_FILES,
    ModelSpec,
    context_length,
    hash_files,
    load_model,
    load_tokenizer,
    parameter_count,
    resolve_device,
    resolve_dtype,
)
from curate.lm.observables import FORWARD_VERSION, OBSERVABLES
from curate.method import Data, Method
from curate.plan import Pass, Plan, base_model, fit_name, merge, pass_name
from curate.registry import label
from curate.requests import Fit, FittedModel, Request, Rows
from curate.signals import RowScore
from curate.stages import Stage, Timer
from curate.store import RowArtifact, Store
from curate.training.config import expected_steps

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from curate.pool import Pool

DEFAULT_MAX_LENGTH = 2048
SHARD_TOKENS = 100_000  # what a killed pass loses at most
ENCODE_SHARD = 5_000  # rows


@dataclass
class Engine:
    """Holds what the jobs of one run share: the store, the executor, the device, and the pools by handle."""

    store: Store = field(default_factory=Store)
    executor: Executor = field(default_factory=Loop)
    device: str = "auto"
    dtype: str = "auto"
    max_length: int | None = None
    batch_tokens: int = 4096
    refit: str = "drift"
    stages: list[Stage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.refit not in ("never", "drift", "always"):
            raise InputError(f"refit {self.refit!r} is not one of never, drift, always")
        self._pools: dict[Rows, Pool] = {}
        self._encodings: dict[tuple[str, Rows], Encodings] = {}
        self._computed: dict[Rows, np.ndarray] = {}
        self._loaded: tuple[str, PreTrainedModel] | None = None
        self._hashes = self.store.hash_cache()
        self._hashes_saved = dict(self._hashes)

    # What identifies things -------------------------------------------------------------------------------------------

    def model_hash(self, model: ModelSpec | Fit) -> str:
        """The fingerprint of a model's weights; for a fit, the address of the artifact that serves it."""
        if isinstance(model, Fit):
            return self.fitted(model).address
        found = hash_files(model.folder(), WEIGHT_FILES, self._hashes)
        self._save_hashes()
        return found

    def length_limit(self, model: ModelSpec) -> int:
        """Tokens a conversation is cut to: the limit asked for, else the model's context up to 2,048."""
        context = context_length(model.folder())
        if self.max_length is None:
            return min(context or DEFAULT_MAX_LENGTH, DEFAULT_MAX_LENGTH)
        if context and self.max_length > context:
            raise InputError(f"--max-length {self.max_length} exceeds the context of {model.label}, {context} tokens")
        return self.max_length

    def encoding_spec(self, model: ModelSpec) -> dict[str, Any]:
        tokenizer = hash_files(model.folder(), TOKENIZER_FILES, self._hashes)
        self._save_hashes()
        return {
            "kind": "encoding",
            "version": ENCODE_VERSION,
            "tokenizer": tokenizer,
            "max_length": self.length_limit(model),
        }

    def fit_spec(self, fit: Fit) -> dict[str, Any]:
        from curate.training.config import TRAIN_VERSION

        return {
            "kind": "fit",
            "version": TRAIN_VERSION,
            "model": self.model_hash(fit.model),
            "encoding": self.encoding_spec(fit.model),
            "recipe": fit.recipe.model_dump(mode="json"),
            "rows": fit.rows.fingerprint,
        }

    def observable_spec(self, step: Pass, name: str) -> dict[str, Any]:
        return {
            "kind": "observable",
            "observable": name,
            "version": [OBSERVABLES[name].version, FORWARD_VERSION],
            "model": self.model_hash(step.model),
            "encoding": self.encoding_spec(base_model(step.model)),
            "view": step.view,
            "dtype": resolve_dtype(self.dtype, resolve_device(self.device)),
        }

    # Pools and their tokens -------------------------------------------------------------------------------------------

    def add(self, role: str, pool: "Pool", model: ModelSpec) -> tuple["Pool", Rows, dict[str, str]]:
        """Encode a pool for a model. Returns the rows that can be used, their handle, and row id -> why not."""
        artifact = self.store.rows(self.encoding_spec(model), ENCODING_TYPE)
        ids = pool.row_ids
        known = artifact.positions(ids)
        missing = np.flatnonzero(known < 0)
        if len(missing):
            encode = partial(self._encode, pool, missing, model, artifact)
            self.executor.run([Job("encode", f"tokenise {role} for {model.label}", encode)])
        table = artifact.get(ids)
        reasons = table["reason"].to_pylist()
        failed = {row_id: reason for row_id, reason in zip(ids, reasons, strict=True) if reason is not None}
        usable = pool.subset([row_id for row_id in ids if row_id not in failed]) if failed else pool
        if not len(usable):
            raise InputError(f"no row of the {role} can be used by {model.label}: {reasons[0]}")
        rows = Rows(role, usable.fingerprint, len(usable))
        self._pools[rows] = usable
        keep = np.array([reason is None for reason in reasons])
        self._encodings[model.name, rows] = from_arrow(usable.row_ids, table["value"].filter(pa.array(keep)))
        self._computed[rows] = self._computed.get(rows, False) | (known < 0)[keep]
        return usable, rows, failed

    def encodings(self, model: ModelSpec, rows: Rows) -> Encodings:
        """The token ids of rows that were added; encodes them for another tokenizer when that is asked for."""
        if (model.name, rows) not in self._encodings:
            pool = self._pools[rows]
            _, _, failed = self.add(rows.role, pool, model)
            if failed:
                raise InputError(
                    f"{len(failed)} rows of the {rows.role} cannot be used by {model.label} although another model "
                    f"takes them: {next(iter(failed.values()))}"
                )
        return self._encodings[model.name, rows]

    def _encode(self, pool: "Pool", missing: np.ndarray, model: ModelSpec, artifact: RowArtifact) -> None:
        tokenizer = self.tokenizer(model)
        limit = self.length_limit(model)
        ids = pool.row_ids
        with self.stage("encode", f"tokenise for {model.label}") as stage, progress.task("tokenise", len(missing)) as advance:
            for start in range(0, len(missing), ENCODE_SHARD):
                part = missing[start : start + ENCODE_SHARD]
                rows = encode_rows(tokenizer, [(pool.messages(int(i)), pool.tools(int(i))) for i in part], limit)
                values = [
                    None if row.reason else {"input_ids": row.input_ids, "loss_mask": row.loss_mask, "truncated": row.truncated}
                    for row in rows
                ]
                artifact.put([ids[i] for i in part], values, [row.reason for row in rows])
                advance(len(part))
            stage.computed_rows, stage.reused_rows = len(missing), len(ids) - len(missing)

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

    def seconds(self, seen: Seen, method: Method) -> float:
        """What computing all that a method asked for took, whichever run did it; a shared pass counts in full."""
        plan = merge(seen.asked.get(label(method), {}))
        total = sum(self.fitted(fit).account["seconds"] for fit in plan.fits)
        for step in plan.passes:
            forward = [name for name in step.observables if OBSERVABLES[name].forward]
            total += max((self.artifact(step, name).seconds() for name in forward), default=0.0)
        return total

    def answer(self, request: Request) -> Any:
        """A FittedModel for a Fit; for an Observe a RowScore where it is a number, else a list of arrays (None: null)."""
        if isinstance(request, Fit):
            return self.fitted(request)
        observable = OBSERVABLES[request.observable]
        if not observable.forward:
            encodings = self.encodings(base_model(request.model), request.rows)
            pairs = zip(encodings.lengths, encodings.response_lengths, strict=True)
            return RowScore.of(np.array([observable.reduce(total, reply) for total, reply in pairs], dtype=np.float64))
        step = Pass(request.model, request.rows, request.view, (request.observable,))
        table = self.artifact(step, request.observable).get(self._pools[request.rows].row_ids)
        if pa.types.is_list(observable.type):
            return [None if value is None else np.asarray(value, np.float32) for value in table["value"].to_pylist()]
        values = table["value"].to_numpy(zero_copy_only=False).astype(np.float64)
        return RowScore(values, np.array(table["reason"].to_pylist(), dtype=object))

    def execute(self, plan: Plan) -> None:
        """Run the fits, then the passes, of a plan; what the store has is not run."""
        fits = [fit for fit in plan.fits if self.kept(fit) is None]
        self.executor.run([Job("fit", fit_name(fit), partial(self._run_fit, fit)) for fit in fits])
        todo = [step for step in plan.passes if step.forwards and len(self.missing(step))]
        self.executor.run([Job("pass", pass_name(step), partial(self._run_pass, step)) for step in todo])
        for step in plan.passes:
            if step.forwards and step not in todo:
                self.stages.append(Stage("pass", pass_name(step), reused_rows=step.rows.size))

    def missing(self, step: Pass) -> np.ndarray:
        """Positions of the rows for which an observable of the pass was not computed yet."""
        ids = self._pools[step.rows].row_ids
        lacks = np.zeros(len(ids), dtype=bool)
        for name in step.observables:
            if OBSERVABLES[name].forward:
                lacks |= self.artifact(step, name).positions(ids) < 0
        return np.flatnonzero(lacks)

    def artifact(self, step: Pass, name: str) -> RowArtifact:
        return self.store.rows(self.observable_spec(step, name), OBSERVABLES[name].type)

    def _run_pass(self, step: Pass) -> None:
        from curate.lm.batching import shards_by_tokens
        from curate.lm.forward import token_logprobs

        model = base_model(step.model)
        encodings = self.encodings(model, step.rows)
        lengths = encodings.lengths
        missing = self.missing(step)
        wanted = np.zeros(len(encodings), dtype=bool)
        wanted[missing] = True
        names = [name for name in step.observables if OBSERVABLES[name].forward]
        artifacts = {name: self.artifact(step, name) for name in names}
        total = int(lengths[missing].sum())
        with self.stage("pass", pass_name(step)) as stage, progress.task(pass_name(step), total, "tokens") as advance:
            network = self.load(step.model)
            # Shards are cut over all rows, so a run that was killed goes on with the same ones.
            for shard in shards_by_tokens(lengths, SHARD_TOKENS):
                part = shard[wanted[shard]]
                if not len(part):
                    continue
                began = time.perf_counter()
                values: dict[str, list[Any]] = {name: [None] * len(part) for name in names}
                reasons: list[str | None] = [None] * len(part)
                stream = token_logprobs(network, encodings.take(part), batch_tokens=self.batch_tokens, progress=advance)
                for position, logp in stream:
                    if not np.isfinite(logp).all():
                        reasons[position] = "the model gave a number that is not finite"
                        continue
                    for name in names:
                        values[name][position] = OBSERVABLES[name].reduce(logp)
                for name in names:
                    artifacts[name].put([encodings.row_ids[i] for i in part], values[name], reasons, time.perf_counter() - began)
            stage.computed_rows, stage.reused_rows, stage.tokens = len(missing), len(encodings) - len(missing), total
            stage.flops = 2.0 * parameter_count(model.folder()) * total
        self._computed[step.rows] = self._computed[step.rows] | wanted

    def _run_fit(self, fit: Fit) -> None:
        def build(folder: Any) -> None:
            from curate.training.trainer import save_model

            result = self.train(fit.model, self.encodings(fit.model, fit.rows), fit.recipe, fit_name(fit))
            save_model(result.model, folder / "model", self.tokenizer(fit.model))
            (folder / "rows.txt").write_text("\n".join(self._pools[fit.rows].row_ids))
            (folder / "fit.json").write_text(json.dumps(result.account()))

        self.store.make("fits", self.fit_spec(fit), build)
        self._computed[fit.rows] = np.ones(fit.rows.size, dtype=bool)

    def train(self, model: ModelSpec, encodings: Encodings, recipe: Any, name: str) -> Any:
        """Fine-tune a fresh copy of the model; a TrainResult. Its weights are the caller's to keep."""
        from curate.training.trainer import train

        self._loaded = None  # one model in memory at a time
        network = load_model(
            model.folder(), device=resolve_device(self.device), dtype="float32", trust_remote_code=model.trust_remote_code
        )
        done, steps = 0, expected_steps(recipe, encodings.lengths)
        with self.stage("train", name) as stage, progress.task(name, steps, "steps") as advance:

            def step(now: int, total: int) -> None:
                nonlocal done
                advance(now - done)
                done = now

            result = train(network, self.tokenizer(model), encodings, recipe, output=None, progress=step)
            stage.computed_rows, stage.tokens, stage.flops = len(encodings), result.tokens, result.flops
        return result

    def fitted(self, fit: Fit) -> FittedModel:
        """The artifact that serves a fit. Raises CurateError when it was not made yet."""
        kept = self.kept(fit)
        if kept is None:
            raise CurateError(f"{fit_name(fit)} was asked about before it was made")
        folder, drift = kept
        made = json.loads((folder / "fit.json").read_text())
        note: str | None = None
        if drift:
            note = f"{fit_name(fit)}: the fit {folder.name} was kept although {drift:.1%} of the rows have changed"
            if note not in self.notes:
                self.notes.append(note)
        return FittedModel(folder / "model", folder.name, made, note)

    def kept(self, fit: Fit) -> tuple[Any, float] | None:
        """(folder, share of rows changed) of the fit that serves, by the rule of `refit`; None when one must be made."""
        spec = self.fit_spec(fit)
        if self.store.has("fits", spec):
            return self.store.folder("fits", spec), 0.0
        if self.refit == "always" or fit.rows not in self._pools:
            return None
        now = set(self._pools[fit.rows].row_ids)
        best: tuple[Any, float] | None = None
        for path in sorted(self.store.root.glob("fits/*/spec.json")):
            other = json.loads(path.read_text())
            if {**other, "rows": None} != {**spec, "rows": None}:
                continue
            then = set((path.parent / "rows.txt").read_text().split())
            if not now & then:
                continue  # a fit on other data altogether
            drift = len(now ^ then) / len(now)
            if best is None or drift < best[1]:
                best = path.parent, drift
        return best if best and (self.refit == "never" or best[1] <= 0.1) else None

    # Models -----------------------------------------------------------------------------------------------------------

    def load(self, model: ModelSpec | Fit) -> "PreTrainedModel":
        """A model for passes, kept until another is asked for."""
        key = self.model_hash(model)
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None
            folder = self.fitted(model).folder if isinstance(model, Fit) else model.folder()
            device = resolve_device(self.device)
            dtype = resolve_dtype(self.dtype, device)
            trust = base_model(model).trust_remote_code
            self._loaded = key, load_model(folder, device=device, dtype=dtype, trust_remote_code=trust)
        return self._loaded[1]

    def tokenizer(self, model: ModelSpec) -> "PreTrainedTokenizerBase":
        return load_tokenizer(model.folder(), trust_remote_code=model.trust_remote_code)

    # Accounts ---------------------------------------------------------------------------------------------------------

    def computed_rows(self, rows: Rows) -> int:
        """Rows for which anything at all was computed in this run, as against read from the store."""
        return int(self._computed[rows].sum())

    def stage(self, kind: str, name: str) -> Timer:
        """Time a block under a name; its Stage is there to be filled in."""
        return Timer(self.stages, Stage(kind, name))

    def _save_hashes(self) -> None:
        if self._hashes != self._hashes_saved:
            self.store.save_hash_cache(self._hashes)
            self._hashes_saved = dict(self._hashes)
