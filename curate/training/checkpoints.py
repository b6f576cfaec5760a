"""Reading and writing what a training run leaves in its folders; see `curate.training.folders` for which there are."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file

from curate.errors import InputError
from curate.files import atomic_folder
from curate.training.folders import steps_in
from curate.training.quiet import quiet

TAKING_OVER = ("pissa", "olora", "corda")  # ways to begin adapters that take them out of the weights below
BESIDE = "training"  # the folder in a checkpoint that holds what merging and saving lose


def write_model(model: Any, folder: Path, tokenizer: Any = None, optimizer: torch.optim.Optimizer | None = None) -> None:
    """Write a model folder that AutoModelForCausalLM loads: safetensors, adapters merged, and the tokenizer.

    With an optimizer its state and the adapters are written beside the model. The model itself stays as it is. InputError
    when the folder is there already and not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already; name a folder that is not, or an empty one")
    # A copy, because merging and taking back out would change the last bits of the weights in training.
    plain = merged(copy.deepcopy(model)) if isinstance(model, PeftModel) else model
    with atomic_folder(folder) as temporary, quiet():
        plain.save_pretrained(temporary)
        if tokenizer is not None:
            tokenizer.save_pretrained(temporary)
        if optimizer is not None:
            (temporary / BESIDE).mkdir()
            _write_optimizer(temporary / BESIDE, model, optimizer)
            if isinstance(model, PeftModel):
                save_file(_contiguous(get_peft_model_state_dict(model)), temporary / BESIDE / "adapter_model.safetensors")
                model.peft_config["default"].save_pretrained(str(temporary / BESIDE))


def merged(model: PeftModel, base: Callable[[], Any] | None = None) -> Any:
    """The model with its adapters in its weights; the one given is used up. 4-bit weights become plain ones first.

    (peft would merge into the 4-bit weights, and rounding them to 4 bits again loses much of what was learned.)

    base  for a model whose weights were in half precision: gives it in float32 as it was before training, and the adapters are
          merged into that. Where they took over part of the weights, or these are in 4 bits, it is the weights below the adapters
          that are made float32 and merged into.
    """
    in_4_bits = getattr(model, "is_loaded_in_4bit", False)
    if base is None and not in_4_bits:
        return model.merge_and_unload()
    learned, adapters = get_peft_model_state_dict(model), model.peft_config["default"]
    took_over, adapters.init_lora_weights = adapters.init_lora_weights in TAKING_OVER, True  # they come from what was learned
    with quiet():
        if in_4_bits:
            plain = model.unload().dequantize()
            plain.is_loaded_in_4bit = False
        else:
            assert base is not None
            plain = model.unload() if took_over else base()
        model = get_peft_model(plain if base is None else plain.float(), adapters)
    set_peft_model_state_dict(model, learned)
    return model.merge_and_unload()


def write_state(
    output: Path,
    step: int,
    fingerprint: str,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    losses: list[float],
    history: dict[str, torch.Tensor],
) -> None:
    """Write the state after `step` steps and drop the earlier ones. history: of a token policy, if it has any."""
    with atomic_folder(output / "states" / f"step-{step}") as folder:
        save_file(
            _contiguous({name: weight.detach() for name, weight in _learned(model).items()}), folder / "weights.safetensors"
        )
        save_file({"losses": torch.tensor(losses, dtype=torch.float64)}, folder / "losses.safetensors")
        if history:
            save_file(_contiguous(history), folder / "history.safetensors")
        _write_optimizer(folder, model, optimizer)
        (folder / "state.json").write_text(json.dumps({"step": step, "fingerprint": fingerprint}))
    for at, old in steps_in(output / "states", "step-").items():
        if at != step:
            shutil.rmtree(old, ignore_errors=True)


def read_state(folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, list[float]]:
    """Put the state in `folder` into model and optimizer; the steps done and the loss of each."""
    weights, learned = load_file(folder / "weights.safetensors"), _learned(model)
    with torch.no_grad():
        for name, weight in learned.items():
            weight.copy_(weights[name])
    index = {weight: i for i, weight in enumerate(w for group in optimizer.param_groups for w in group["params"])}
    state = {index[learned[name]]: moments for name, moments in _read_optimizer(folder).items()}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    losses = load_file(folder / "losses.safetensors")["losses"].tolist()
    return json.loads((folder / "state.json").read_text())["step"], losses


def read_history(folder: Path) -> dict[str, torch.Tensor]:
    """What a token policy left in the state in `folder`; nothing where it left none."""
    file = folder / "history.safetensors"
    return load_file(file) if file.is_file() else {}


def read_optimizer(checkpoint: str | Path) -> dict[str, dict[str, torch.Tensor]]:
    """What AdamW knew of each trained parameter at a checkpoint: exp_avg and exp_avg_sq, of its shape, and step, a number.

    By the parameter's name in `model.named_parameters()`, adapters included. Raises InputError when the checkpoint was written
    without `save_optimizer`.
    """
    folder = Path(checkpoint) / BESIDE
    if not (folder / "optimizer.safetensors").is_file():
        raise InputError(f"{checkpoint} has no optimizer state; train with save_optimizer")
    return _read_optimizer(folder)


def read_adapted(model: Any, checkpoint: str | Path) -> PeftModel:
    """Put the adapters of a checkpoint on `model`, the one that training started from; they can be trained on.

    Its parameters have the names that `read_optimizer` has. Raises InputError when the checkpoint has no adapters of its own.
    """
    folder = Path(checkpoint) / BESIDE
    # Without the second, peft would look for a pickle.
    if not all((folder / file).is_file() for file in ("adapter_config.json", "adapter_model.safetensors")):
        raise InputError(f"{checkpoint} has no adapters by themselves; train them with save_optimizer")
    with quiet():
        return PeftModel.from_pretrained(model, folder, is_trainable=True)


def _write_optimizer(folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    states = {name: optimizer.state[weight] for name, weight in _learned(model).items() if weight in optimizer.state}
    tensors = {f"{name}.{key}": value for name, state in states.items() for key, value in state.items()}
    save_file(_contiguous(tensors), folder / "optimizer.safetensors")


def _read_optimizer(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    found: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in load_file(folder / "optimizer.safetensors").items():
        name, moment = key.rsplit(".", 1)
        found.setdefault(name, {})[moment] = value
    return found


def _learned(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def _contiguous(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.contiguous() for name, tensor in tensors.items()}
