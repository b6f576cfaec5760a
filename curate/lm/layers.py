"""Which layers of a model attend: what a setting that names one is checked against."""

from typing import Any

from curate.errors import InputError


def attention_modules(model: Any) -> list[Any]:
    """The attention of each layer that has any, in order."""
    attend = [
        module for module in model.modules() if type(module).__name__.endswith("Attention") and hasattr(module, "layer_idx")
    ]
    return sorted(attend, key=lambda module: module.layer_idx)


def attention_module(model: Any, layer: int) -> Any:
    """The attention of a layer; negative numbers count from the last that has any. Raises InputError where there is none."""
    modules = attention_modules(model)
    if not -len(modules) <= layer < len(modules):
        raise InputError(f"attention_layer: the model has {len(modules)} layers of attention, and no layer {layer}")
    return modules[layer]
