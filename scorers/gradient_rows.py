"""Gradients of rows at fresh adapters, for methods that need one of each row and no training."""

from pydantic import Field

from curate.lm.gradient_config import FreshAdapters, GradientConfig
from curate.method import Data, Method
from curate.requests import Gradients, Rows


class OfGradients(Method):
    """The settings and the request of methods that read a gradient of each row."""

    dimensions: int = Field(4096, ge=1, le=1 << 22, description="that gradients are projected onto")
    lora_r: int = Field(8, ge=1, description="rank of the fresh adapters that gradients are of")

    def gradients(self, data: Data, rows: Rows) -> Gradients:
        """The gradient of each row's mean loss with respect to the B of fresh adapters, sketched: lengths and products stay."""
        fresh = FreshAdapters(r=self.lora_r)
        config = GradientConfig(parameters="lora_b", fresh=fresh, projection="sketch", dimensions=self.dimensions)
        return Gradients(data.model, rows, config)
