"""The direction in which Adam would move if a row were its next batch (LESS, arXiv 2402.04333, section 3.2)."""

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field


class Adam(BaseModel):
    """How the direction is made of a gradient. By default as the authors' code makes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0)
    eps_place: Literal["inside", "outside"] = Field("inside", description="of the square root; Adam itself has it outside")
    bias_correction: bool = Field(False, description="divide the moments by 1 - beta^t, t counting the step that would come")


def direction(
    gradients: torch.Tensor, mean: torch.Tensor, square: torch.Tensor, adam: Adam, step: int = 0
) -> torch.Tensor:
    """[B, P]: m' / sqrt(v' + eps), or m' / (sqrt(v') + eps), where m' = b1 m + (1 - b1) g and v' = b2 v + (1 - b2) g^2.

    gradients [B, P] of rows; mean and square [P], the optimizer's m and v, which stay as they are; step: how many it had taken.
    """
    m = mean * adam.beta1 + gradients * (1 - adam.beta1)
    v = square * adam.beta2 + gradients.square() * (1 - adam.beta2)
    if adam.bias_correction:
        m, v = m / (1 - adam.beta1 ** (step + 1)), v / (1 - adam.beta2 ** (step + 1))
    return m / (v + adam.eps).sqrt() if adam.eps_place == "inside" else m / (v.sqrt() + adam.eps)
