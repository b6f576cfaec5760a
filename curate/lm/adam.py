"""The direction in which Adam would move if a row were its next batch (LESS, arXiv 2402.04333, section 3.2)."""

from typing import TYPE_CHECKING

from curate.lm.gradient_config import Adam

if TYPE_CHECKING:
    import torch


def direction(
    gradients: "torch.Tensor", mean: "torch.Tensor", square: "torch.Tensor", adam: Adam, step: int = 0
) -> "torch.Tensor":
    """[B, P]: m' / sqrt(v' + eps), or m' / (sqrt(v') + eps), where m' = b1 m + (1 - b1) g and v' = b2 v + (1 - b2) g^2.

    gradients [B, P] of rows; mean and square [P], the optimizer's m and v, which stay as they are; step: how many it had taken.
    """
    m = mean * adam.beta1 + gradients * (1 - adam.beta1)
    v = square * adam.beta2 + gradients.square() * (1 - adam.beta2)
    if adam.bias_correction:
        m, v = m / (1 - adam.beta1 ** (step + 1)), v / (1 - adam.beta2 ** (step + 1))
    return m / (v + adam.eps).sqrt() if adam.eps_place == "inside" else m / (v.sqrt() + adam.eps)
