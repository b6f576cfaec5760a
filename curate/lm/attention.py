"""The probabilities by which a layer attends."""

from itertools import pairwise
from typing import Any

import numpy as np
import torch

from curate.errors import InputError
from curate.lm.layers import attention_module, attention_modules


def attention_probabilities(
    module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], i: int, real: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """[heads, T, T]: by how much each position of row i looks at each, by the model's own plain implementation.

    module  the attention of a layer, called with args and kwargs. real: [B, T], which positions are no padding.
    Fused implementations give no probabilities, so the layer attends once more, in float32 softmax. Raises InputError for a
    model whose layers do not give them either.
    """
    given, named = _row(args, i, len(real)), _row(kwargs, i, len(real))
    named["attention_mask"] = _plain_mask(module, real[i], named.get("attention_mask"), dtype)
    return _probabilities(module, given, named)


def _row(value: Any, i: int, size: int) -> Any:
    """What of a module's arguments is of row i."""
    if isinstance(value, torch.Tensor):
        return value[i : i + 1] if value.ndim > 1 and len(value) == size else value
    if isinstance(value, dict):
        return {key: _row(one, i, size) for key, one in value.items()}
    return type(value)(_row(one, i, size) for one in value) if type(value) in (tuple, list) else value


def _plain_mask(module: Any, real: torch.Tensor, given: Any, dtype: torch.dtype) -> torch.Tensor:
    """[1, 1, T, T]: what is added to the scores of one row, 0 where a position may look; whatever mask the model itself uses."""
    size = len(real)
    if isinstance(given, torch.Tensor) and given.ndim == 4:
        if given.dtype != torch.bool:
            return given
        allowed = given
    else:
        place = torch.arange(size, device=real.device)
        behind = place[:, None] - place[None]
        allowed = (behind >= 0) & real.bool()[None]
        if window := getattr(module, "sliding_window", None):
            allowed &= behind < window
        allowed = allowed[None, None]
    return torch.zeros(allowed.shape, dtype=dtype, device=real.device).masked_fill(~allowed, torch.finfo(dtype).min)


def _probabilities(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    """[heads, T, T] of one row."""
    config = module.config
    before = config._attn_implementation
    config._attn_implementation = "eager"
    try:
        given = module.forward(*args, **kwargs)  # not called, for that would look again
    finally:
        config._attn_implementation = before
    weights = given[1] if isinstance(given, tuple) and len(given) > 1 else None
    if not isinstance(weights, torch.Tensor) or weights.ndim != 4:
        raise InputError(f"the attention of models of type {config.model_type} cannot be read; use another model or method")
    return weights[0]


@torch.inference_mode()
def attention_to_sections(model: Any, ids: np.ndarray, starts: np.ndarray, layer: int | float) -> np.ndarray:
    """float64 [k]: attention from the last section of a prompt to each of the others, mean over tokens, summed over heads.

    ids     int64 [T]. starts: int64 [k + 1], where the sections begin; the last one goes up to the end.
    layer   its number, or as a fraction its place in the depth of the model. Raises as `attention_module`.
    """
    count = len(attention_modules(model))
    module = attention_module(model, min(round(layer * count), count - 1) if isinstance(layer, float) else layer)
    found: list[np.ndarray] = []

    def look(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        summed = attention_probabilities(module, args, kwargs, 0, real, model.dtype)[:, int(starts[-1]) :].float().sum(dim=0)
        mean = summed.mean(dim=0, dtype=torch.float64)  # [T], over the tokens of the question
        found.append(np.array([mean[a:b].mean().item() for a, b in pairwise(starts.tolist())]))

    tokens = torch.from_numpy(ids[None]).to(model.device)
    real = torch.ones_like(tokens)
    hook = module.register_forward_pre_hook(look, with_kwargs=True)
    try:
        model.base_model(input_ids=tokens, use_cache=False)
    finally:
        hook.remove()
    return found[0]
