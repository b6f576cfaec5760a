"""Gradients of rows as the engine keeps them: turned into Adam's direction where asked for, projected, shard by shard."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from curate.errors import InputError
from curate.lm.batching import shards_by_tokens
from curate.lm.encodings import Encodings
from curate.lm.gradient_config import GRADIENT_VERSION, FreshAdapters, GradientConfig
from curate.lm.models import forward_flops
from curate.passes import PassResult
from curate.plan import base_model
from curate.requests import Checkpoint, Gradients
from curate.store import RowArtifact

if TYPE_CHECKING:
    import torch
    from peft import PeftModel

    from curate.engine import Engine

PROJECTED_NUMBERS = {"cpu": 1 << 26, "gpu": 1 << 29}  # entries of gradients that wait to be projected at once: 256 MB, 2 GB
FORWARDS = 3  # a row's gradient takes about as much as so many forward passes: one, and back through frozen weights

Moments = Mapping[str, Mapping[str, "torch.Tensor"]]  # by parameter: exp_avg, exp_avg_sq and step


def artifact(engine: "Engine", request: Gradients) -> RowArtifact:
    """Where the vectors of a request are kept. CurateError where its fit was not made yet."""
    spec = {
        "kind": "gradient",
        "version": GRADIENT_VERSION,
        "model": engine.model_hash(request.model),
        "encoding": engine.encoding_spec(base_model(request.model)),
        "dtype": engine.pass_dtype,
        "config": request.config.identity(),
    }
    return engine.store.rows(spec, pa.list_(pa.float16() if request.config.dtype == "float16" else pa.float32()))


def flops(request: Gradients, tokens: int) -> float:
    """Of the gradients of rows of so many tokens; projecting them is left out."""
    return FORWARDS * forward_flops(base_model(request.model), tokens)


def adapted(engine: "Engine", request: Gradients, *, made: bool = True) -> "tuple[PeftModel, Moments | None]":
    """The model of a request with its adapters on it, and the optimizer's state of a checkpoint.

    made  False: of a checkpoint that is not there yet, a model with untrained adapters of the same shape.
    """
    from curate.lm.models import load_model, resolve_device
    from curate.training.adapters import fresh_adapters
    from curate.training.checkpoints import read_adapted, read_optimizer

    base, model = base_model(request.model), request.model
    engine.unload()
    if not isinstance(model, Checkpoint):
        assert request.config.fresh is not None
        folder, dtype, quantization = engine.folder(model), engine.pass_dtype, "none"
    else:
        recipe = model.fit.recipe
        folder = engine.folder(model.fit.model) if made else base.folder()
        quantization = recipe.quantization
        dtype = recipe.dtype if quantization != "none" else engine.pass_dtype
    network = load_model(
        folder,
        device=resolve_device(engine.device),
        dtype=dtype,
        trust_remote_code=base.trust_remote_code,
        quantization=quantization,
    )
    if not isinstance(model, Checkpoint):
        return fresh_adapters(network, request.config.fresh or FreshAdapters()), None
    if not made:
        return fresh_adapters(network, FreshAdapters(r=recipe.lora_r, target_modules=recipe.target_modules)), None
    checkpoint = engine.folder(model)
    return read_adapted(network, checkpoint), read_optimizer(checkpoint)


def projected(
    network: "PeftModel",
    encodings: Encodings,
    config: GradientConfig,
    moments: "Moments | None" = None,
    *,
    batch_tokens: int = 4096,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[int, np.ndarray | str]]:
    """Yield (position, vector [d] in the config's dtype) of each row; in place of a vector the reason why a row has none.

    moments  the optimizer's state by parameter, for Adam's direction; None: the gradient itself.
    """
    import torch

    from curate.lm.adam import direction
    from curate.lm.gradients import gradients, layout
    from curate.lm.projection import make_projection

    where = layout(network, config.parameters)
    device = where.layers[0].weight.device
    project = make_projection(config.projection, where.size, config.dimensions, config.seed)
    state = _flat_state(where, moments, device) if config.adam and moments is not None else None
    most = PROJECTED_NUMBERS["cpu" if device.type == "cpu" else "gpu"]
    waiting: list[tuple[np.ndarray, torch.Tensor]] = []

    def done() -> Iterator[tuple[int, np.ndarray]]:
        if waiting:
            rows = torch.cat([part for _, part in waiting]).float()
            positions = np.concatenate([at for at, _ in waiting])
            waiting.clear()
            if state is not None and config.adam is not None:
                rows = direction(rows, state[0], state[1], config.adam, state[2])
            vectors = project(rows)
            if config.dtype == "float16":
                vectors = torch.nn.functional.normalize(vectors, eps=1e-30).half()
            yield from zip(positions.tolist(), vectors.cpu().numpy(), strict=True)

    for at, found in gradients(network, encodings, config.parameters, batch_tokens=batch_tokens, progress=progress):
        if isinstance(found, str):
            yield int(at[0]), found
            continue
        if sum(part.numel() for _, part in waiting) + found.numel() > most:
            yield from done()
        waiting.append((at, found))
    yield from done()


def _flat_state(where: Any, moments: "Moments", device: Any) -> "tuple[torch.Tensor, torch.Tensor, int]":
    lacking = [name for name in where.names if name not in moments]
    if lacking:
        raise InputError(f"the optimizer state of the checkpoint has nothing for {lacking[0]}")
    flat = [where.flat({name: moments[name][key] for name in where.names}, device) for key in ("exp_avg", "exp_avg_sq")]
    return flat[0], flat[1], int(moments[where.names[0]]["step"])


def record(
    network: "PeftModel",
    moments: "Moments | None",
    encodings: Encodings,
    missing: np.ndarray,
    config: GradientConfig,
    kept: RowArtifact,
    *,
    batch_tokens: int,
    shard_tokens: int,
    progress: Callable[[int], None],
) -> PassResult:
    """Keep the vectors of rows, null with a reason where there is none.

    missing  int64, positions of the rows. Shards are cut over all rows, so a run that was killed goes on with the same ones;
             each is kept as soon as it is done.
    """
    from curate.lm.gradients import NOT_FINITE, NOTHING_TO_LEARN

    result = PassResult()
    wanted = np.zeros(len(encodings), dtype=bool)
    wanted[missing] = True
    for shard in shards_by_tokens(encodings.lengths, shard_tokens):
        part = shard[wanted[shard]]
        if not len(part):
            continue
        began, rows = time.perf_counter(), encodings.take(part)
        found = dict(projected(network, rows, config, moments, batch_tokens=batch_tokens, progress=progress))
        result.tokens += int(rows.lengths.sum())
        lasting = {i: what for i, what in found.items() if not isinstance(what, str) or what in (NOT_FINITE, NOTHING_TO_LEARN)}
        result.failed |= {rows.row_ids[i]: str(what) for i, what in found.items() if i not in lasting}
        places = sorted(lasting)
        kept.put(
            [rows.row_ids[i] for i in places],
            [None if isinstance(found[i], str) else found[i] for i in places],
            [what if isinstance(what := found[i], str) else None for i in places],
            time.perf_counter() - began,
        )
    return result
