"""Gradients of rows as the engine keeps them: turned into Adam's direction where asked for, projected, shard by shard."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from curate.errors import InputError
from curate.fitting import Fitting
from curate.jobs import Kind
from curate.lm.batching import shards_by_tokens
from curate.lm.encodings import Encodings
from curate.lm.gradient_codes import decoded, encoded, stored_type
from curate.lm.gradient_config import GRADIENT_VERSION, PROJECTION_VERSION, Adam, FreshAdapters, GradientConfig
from curate.lm.models import forward_flops
from curate.passes import SHARD_TOKENS, Done, parts
from curate.plan import base_model, gradient_name
from curate.requests import Checkpoint, Gradients
from curate.signals import RowVector, as_vectors
from curate.store import RowArtifact
from curate.versions import later_version
from curate.work.base import RowWork, kept_values

if TYPE_CHECKING:
    import torch
    from peft import PeftModel

    from curate.lm.projection import Sketch

PROJECTED_NUMBERS = {"cpu": 1 << 26, "gpu": 1 << 29}  # entries of gradients that wait to be projected at once: 256 MB, 2 GB
FORWARDS = 3  # a row's gradient takes about as much as so many forward passes: one, and back through frozen weights

Moments = Mapping[str, Mapping[str, "torch.Tensor"]]  # by parameter: exp_avg, exp_avg_sq and step


class GradientWork(RowWork):
    """The projected gradient of each row at a model's adapters."""

    kind = "gradients"

    def __init__(self, engine: Fitting, asked: Gradients) -> None:
        super().__init__(engine, asked.rows, asked.model)
        self.asked, self.base = asked, base_model(asked.model)

    def name(self, missing: int = 0) -> str:
        return gradient_name(self.asked, missing)

    def artifacts(self) -> dict[str, RowArtifact]:
        config = self.asked.config
        spec = {
            "kind": "gradient",
            "version": GRADIENT_VERSION,
            "model": self.engine.model_hash(self.asked.model),
            "encoding": self.engine.encoding_spec(self.base),
            "dtype": self.engine.pass_dtype,
            "config": config.identity(),
            **later_version("projection", PROJECTION_VERSION),
        }
        return {"gradient": self.engine.store.rows(spec, stored_type(config.dtype))}

    def tokens(self, positions: np.ndarray) -> int:
        return int(self.engine.encodings(self.base, self.asked.rows).lengths[positions].sum())

    def flops(self, tokens: int) -> float:
        """Projecting is left out."""
        return FORWARDS * forward_flops(self.base, tokens)

    def compute(self, missing: np.ndarray, advance: Callable[[int], None]) -> Done:
        encodings, spec = self.engine.encodings(self.base, self.asked.rows), self.artifacts()["gradient"].spec
        shards = parts(shards_by_tokens(encodings.lengths, SHARD_TOKENS), missing)
        how, config, name = Adapted.of(self.engine, self.asked), self.asked.config, self.name()
        return self.spread((GradientPiece(name, how, encodings.take(part).alone(), config, spec) for part in shards), advance)

    def answer(self) -> RowVector:
        artifact = self.artifacts()["gradient"]
        values, there, reasons = kept_values(artifact, self.engine.ids(self.rows), self.engine.failures(artifact))
        return as_vectors(decoded(values, self.asked.config.dtype), there, reasons)


@dataclass(frozen=True)
class Adapted:
    """A model with adapters on it, as plain values.

    folder      of the weights below the adapters.
    checkpoint  the folder of the adapters and the optimizer's state; None: untrained ones by `fresh`.
    """

    folder: Path
    dtype: str
    quantization: str
    fresh: FreshAdapters
    checkpoint: Path | None = None

    @classmethod
    def of(cls, engine: Fitting, request: Gradients, *, made: bool = True) -> "Adapted":
        """What a request asks for.

        made  False: of a checkpoint that is not there yet, a model with untrained adapters of the same shape.
        """
        model = request.model
        if not isinstance(model, Checkpoint):
            assert request.config.fresh is not None
            return cls(engine.folder(model), engine.pass_dtype, "none", request.config.fresh)
        recipe = model.fit.recipe
        fresh = FreshAdapters(r=recipe.lora_r, target_modules=recipe.target_modules)
        dtype = recipe.dtype if recipe.quantization != "none" else engine.pass_dtype
        if not made:
            return cls(base_model(model).folder(), dtype, recipe.quantization, fresh)
        return cls(engine.folder(model.fit.model), dtype, recipe.quantization, fresh, engine.folder(model))

    def load(self, engine: Fitting) -> "tuple[PeftModel, Moments | None]":
        """The model, and the optimizer's state of a checkpoint."""
        from curate.lm.models import load_model, resolve_device
        from curate.training.adapters import fresh_adapters
        from curate.training.checkpoints import read_adapted, read_optimizer

        engine.unload()
        network = load_model(
            self.folder,
            device=resolve_device(engine.device),
            dtype=self.dtype,
            trust_remote_code=engine.trust_remote_code,
            quantization=self.quantization,
        )
        if self.checkpoint is None:
            return fresh_adapters(network, self.fresh), None
        return read_adapted(network, self.checkpoint), read_optimizer(self.checkpoint)


@dataclass(frozen=True)
class GradientPiece:
    """The gradients of what is missing of one shard. spec: where they are kept."""

    name: str
    how: Adapted
    rows: Encodings
    config: GradientConfig
    spec: Mapping[str, Any]
    kind: ClassVar[Kind] = "gradients"

    def run(self, engine: Fitting, advance: Callable[[int], None]) -> Done:
        network, moments = engine.holding(self.how, partial(self.how.load, engine))
        kept = engine.store.rows(self.spec, stored_type(self.config.dtype))
        return record_part(network, moments, self.rows, self.config, kept, batch_tokens=engine.batch_tokens, progress=advance)


def adapted(engine: Fitting, request: Gradients, *, made: bool = True) -> "tuple[PeftModel, Moments | None]":
    """The model of a request with its adapters on it, and the optimizer's state of a checkpoint; made: as of `Adapted.of`."""
    return Adapted.of(engine, request, made=made).load(engine)


def projected(
    network: "PeftModel",
    encodings: Encodings,
    config: GradientConfig,
    moments: "Moments | None" = None,
    *,
    batch_tokens: int = 4096,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[int, np.ndarray | str]]:
    """Yield (position, vector [d], float32 or float16) of each row; in place of a vector the reason why a row has none.

    moments  the optimizer's state by parameter, for Adam's direction; None: the gradient itself.
    """
    import torch

    from curate.lm.adam import direction
    from curate.lm.gradients import gradients, layout
    from curate.lm.projection import Sketch, make_projection

    where = layout(network, config.parameters)
    device = where.layers[0].weight.device
    project = make_projection(config.projection, where.size, config.dimensions, config.seed)
    state = _flat_state(where, moments, device) if config.adam and moments is not None else None
    settings: Any = {"batch_tokens": batch_tokens, "progress": progress}
    if isinstance(project, Sketch):
        fold = project if state is None or config.adam is None else _Moved(project, state, config.adam)
        for at, found in gradients(network, encodings, config.parameters, fold, **settings):
            if isinstance(found, str):
                yield int(at[0]), found
            else:
                yield from zip(at.tolist(), _kept(found, config), strict=True)
        return
    most = PROJECTED_NUMBERS["cpu" if device.type == "cpu" else "gpu"]
    waiting: list[tuple[np.ndarray, torch.Tensor]] = []

    def done() -> Iterator[tuple[int, np.ndarray]]:
        if waiting:
            rows = torch.cat([part for _, part in waiting]).float()
            positions = np.concatenate([at for at, _ in waiting])
            waiting.clear()
            if state is not None and config.adam is not None:
                rows = direction(rows, state[0], state[1], config.adam, state[2])
            yield from zip(positions.tolist(), _kept(project(rows), config), strict=True)

    for at, found in gradients(network, encodings, config.parameters, **settings):
        if isinstance(found, str):
            yield int(at[0]), found
            continue
        if sum(part.numel() for _, part in waiting) + found.numel() > most:
            yield from done()
        waiting.append((at, found))
    yield from done()


def _kept(vectors: "torch.Tensor", config: GradientConfig) -> np.ndarray:
    """[B, d], float32, or float16 where that is how they are kept."""
    import torch

    if config.dtype == "float16":
        vectors = torch.nn.functional.normalize(vectors, eps=1e-30).half()
    return vectors.cpu().numpy()


class _Moved:
    """Adam's directions, projected as gradients are made."""

    def __init__(self, project: "Sketch", state: "tuple[torch.Tensor, torch.Tensor, int]", adam: Adam) -> None:
        self.project, self.state, self.adam, self.dimensions = project, state, adam, project.dimensions

    def add(self, found: "torch.Tensor", part: "torch.Tensor", start: int) -> None:
        from curate.lm.adam import direction

        here, (mean, square, step) = slice(start, start + part.shape[1]), self.state
        self.project.add(found, direction(part.float(), mean[here], square[here], self.adam, step), start)


def _flat_state(where: Any, moments: "Moments", device: Any) -> "tuple[torch.Tensor, torch.Tensor, int]":
    lacking = [name for name in where.names if name not in moments]
    if lacking:
        raise InputError(f"the optimizer state of the checkpoint has nothing for {lacking[0]}")
    flat = [where.flat({name: moments[name][key] for name in where.names}, device) for key in ("exp_avg", "exp_avg_sq")]
    return flat[0], flat[1], int(moments[where.names[0]]["step"])


def record_part(
    network: "PeftModel",
    moments: "Moments | None",
    rows: Encodings,
    config: GradientConfig,
    kept: RowArtifact,
    *,
    batch_tokens: int,
    progress: Callable[[int], None],
) -> Done:
    """Keep the vectors of rows as one shard, null with a reason where there is none."""
    from curate.lm.gradients import NOT_FINITE, NOTHING_TO_LEARN

    began = time.perf_counter()
    vectors = dict(projected(network, rows, config, moments, batch_tokens=batch_tokens, progress=progress))
    lasting = {i: what for i, what in vectors.items() if not isinstance(what, str) or what in (NOT_FINITE, NOTHING_TO_LEARN)}
    places = sorted(lasting)
    kept.put(
        [rows.row_ids[i] for i in places],
        encoded([None if isinstance(what := vectors[i], str) else what for i in places], config.dtype),
        [what if isinstance(what := vectors[i], str) else None for i in places],
        time.perf_counter() - began,
    )
    return Done(int(rows.lengths.sum()), {rows.row_ids[i]: str(what) for i, what in vectors.items() if i not in lasting})
