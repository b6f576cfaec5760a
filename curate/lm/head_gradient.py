"""The gradient of a row's mean loss with respect to the output head alone, in closed form and without a backward pass.

With W [V, H] the head, h_t the state before token t and e_t = p_t - onehot_t, the gradient is G = 1/T sum_t e_t h_t^T. What is
asked of it are two numbers, <W, G> = 1/T sum_t e_t . z_t (z_t the logits) and |G|^2 = 1/T^2 sum_st (e_s . e_t)(h_s . h_t), for
which neither G nor all the logits need be held.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from curate.errors import InputError

if TYPE_CHECKING:
    from curate.lm.forward import Head

NUMBERS = {"cpu": 1 << 22, "gpu": 1 << 26}  # logits held at once, as in `curate.lm.forward`


@dataclass(frozen=True)
class HeadGradient:
    """along: <W, G>. squared: |G|^2. norm: |W|, all Frobenius. A step of gradient descent at rate r changes |W| by
    sqrt(|W|^2 - 2 r along + r^2 squared) - |W|, and moves W by r sqrt(squared)."""

    along: float
    squared: float
    norm: float


@torch.inference_mode()
def of_row(head: "Head", states: torch.Tensor, labels: torch.Tensor) -> HeadGradient:
    """From the states [T, H] that predict a row's scored tokens, T at least 1, and these tokens [T].

    Raises InputError for a head whose logits are not linear in its weights.
    """
    weight, bias, scale = _linear(head)
    # In float32, as all statistics are; a model in float64 in that.
    states = states.to(weight.dtype)
    count, width = len(labels), weight.shape[0]
    chunk = max(1, min(width, NUMBERS["cpu" if states.device.type == "cpu" else "gpu"] // count))
    parts = [slice(first, min(first + chunk, width)) for first in range(0, width, chunk)]

    def products(part: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits [T, part] without and with the bias."""
        plain = scale * (states @ weight[part].T)
        return plain, plain if bias is None else plain + scale * bias[part]

    total = torch.stack([torch.logsumexp(products(part)[1], dim=1) for part in parts]).logsumexp(dim=0)
    gram = torch.zeros(count, count, dtype=torch.float64, device=states.device)
    along = 0.0
    for part in parts:
        plain, logits = products(part)
        errors = torch.exp(logits - total[:, None])
        inside = (labels >= part.start) & (labels < part.stop)
        # The difference itself, not its expanded square, which loses all digits where p is near 1.
        errors[inside.nonzero().squeeze(1), labels[inside] - part.start] -= 1
        along += float((errors * plain).sum(dtype=torch.float64))
        gram += (errors @ errors.T).double()
    squared = scale**2 * float((gram * (states @ states.T).double()).sum()) / count**2
    return HeadGradient(along / count, max(squared, 0.0), head.norm)


def _linear(head: "Head") -> tuple[torch.Tensor, torch.Tensor | None, float]:
    """Weights [V, H], bias [V] and factor of a head: logits = factor (states W^T + bias)."""
    if getattr(head.config, "final_logit_softcapping", None):
        kind = head.config.model_type
        raise InputError(f"models of type {kind} cap their logits, so don and nod are not known; use another model")
    weight, bias = head.whole if head.whole is not None else (head.module.weight, head.module.bias)
    factor = getattr(head.config, "logit_scale", None) or 1.0
    return weight, bias, factor / (getattr(head.config, "logits_scaling", None) or 1.0)
