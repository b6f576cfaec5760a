"""Which gradients are taken of rows, and how they are kept: settings alone, without torch."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Stored = Literal["float32", "float16", "int8", "1bit"]

GRADIENT_VERSION = 1  # raise it when the same model, row and settings would give another vector
PROJECTION_VERSION = 1  # of `curate.lm.projection`; raise it when the same settings would give other entries


class Adam(BaseModel):
    """How Adam's direction is made of a gradient. By default as the code of LESS makes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0)
    eps_place: Literal["inside", "outside"] = Field("inside", description="of the square root; Adam itself has it outside")
    bias_correction: bool = Field(False, description="divide the moments by 1 - beta^t, t counting the step that would come")


class FreshAdapters(BaseModel):
    """Low-rank adapters as they are before any training: A from a normal distribution of deviation 1/r, B = 0.

    alpha / r scales what an adapter adds; with alpha = r sqrt(r), the default, gradients of B keep their distances on average
    whatever r is (arXiv 2402.02318). A rank above the smallest side of an adapted weight is cut to it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    r: int = Field(512, ge=1)
    alpha: float | None = Field(None, gt=0, description="by default r sqrt(r), of the rank after cutting")
    target_modules: str | tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    seed: int = Field(0, ge=0)


class GradientConfig(BaseModel):
    """The gradient of a row's mean loss with respect to adapters, as it is kept.

    parameters  `lora`: A and B of each adapter; `lora_b`: B alone.
    adam        Adam's direction instead of the gradient itself.
    fresh       adapters that are put on a plain model; a checkpoint has its own.
    projection  as `curate.lm.projection` makes it, onto `dimensions`; a gradient with no more entries is kept whole.
    dtype       float32 keeps vectors as they are; float16 scaled to length 1, since half precision loses small numbers; int8 and
                1bit as `curate.lm.gradient_codes` says.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    parameters: Literal["lora", "lora_b"] = "lora"
    adam: Adam | None = None
    fresh: FreshAdapters | None = None
    projection: Literal["rademacher", "sparse", "sketch", "none"] = "rademacher"
    dimensions: int = Field(8192, ge=1, le=1 << 22)
    seed: int = Field(0, ge=0, lt=1 << 32, description="of the projection")
    dtype: Stored = "float32"

    def identity(self) -> dict[str, Any]:
        """What makes the vectors what they are: the settings that differ from their defaults."""
        return self.model_dump(mode="json", exclude_defaults=True)
