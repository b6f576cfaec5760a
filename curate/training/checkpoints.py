"""What a training run leaves in its output folder: models to look at later, and states to resume from.

    checkpoint-<step>/     the model after that step, as a folder that AutoModelForCausalLM loads
    states/step-<step>/    the latest state to resume from: what is trained, the optimizer, the losses so far

Safetensors and JSON only; each folder appears whole or not at all.
"""

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from curate.errors import InputError
from curate.files import atomic_folder
from curate.training.quiet import quiet


def write_model(model: Any, folder: Path, tokenizer: Any = None) -> None:
    """Write a model folder that AutoModelForCausalLM loads: safetensors, adapters merged, and the tokenizer.

    The model itself stays as it is. InputError when the folder is there already and not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already; name a folder that is not, or an empty one")
    if isinstance(model, PeftModel):
        # A copy, because merging and taking back out would change the last bits of the weights in training.
        model = copy.deepcopy(model).merge_and_unload()
    with atomic_folder(folder) as temporary, quiet():
        model.save_pretrained(temporary)
        if tokenizer is not None:
            tokenizer.save_pretrained(temporary)


def model_checkpoints(output: Path) -> dict[int, Path]:
    """The model folders in `output` by step, ascending (numerically: 900 before 1000)."""
    return _steps(output, "checkpoint-")


def prepare_output(output: Path | None, *, needed: bool, resume: bool, fingerprint: str) -> Path | None:
    """Check `output` before a run; the state to resume from, None for a run from the beginning.

    Raises InputError when a folder is needed and not given, when a fresh run would mix with an earlier one's
    checkpoints, or when the state to resume from belongs to other rows or settings.
    """
    if output is None:
        if needed or resume:
            raise InputError("checkpoints and resuming need an output folder; give `output`")
        return None
    states, models = _steps(output / "states", "step-"), model_checkpoints(output)
    if not resume and (states or models):
        raise InputError(f"{output} holds the checkpoints of an earlier run; resume it, or name another folder")
    step, state = max(states.items(), default=(0, None))
    if state is not None and json.loads((state / "state.json").read_text())["fingerprint"] != fingerprint:
        raise InputError(f"{state} was left by a run on other rows or with other settings; name another folder")
    for later in (folder for at, folder in models.items() if at > step):
        shutil.rmtree(later, ignore_errors=True)  # they come again
    return state


def write_state(
    output: Path,
    step: int,
    fingerprint: str,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    losses: list[float],
) -> None:
    """Write the state after `step` steps and drop the earlier ones."""
    state = optimizer.state_dict()["state"]
    moments = {f"{index}.{key}": value.contiguous() for index, of in state.items() for key, value in of.items()}
    with atomic_folder(output / "states" / f"step-{step}") as folder:
        weights = {name: weight.detach().contiguous() for name, weight in _learned(model)}
        save_file(weights, folder / "weights.safetensors")
        save_file({**moments, "losses": torch.tensor(losses, dtype=torch.float64)}, folder / "optimizer.safetensors")
        (folder / "state.json").write_text(json.dumps({"step": step, "fingerprint": fingerprint}))
    for at, old in _steps(output / "states", "step-").items():
        if at != step:
            shutil.rmtree(old, ignore_errors=True)


def read_state(folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, list[float]]:
    """Put the state in `folder` into model and optimizer; the steps done and the loss of each."""
    weights = load_file(folder / "weights.safetensors")
    with torch.no_grad():
        for name, weight in _learned(model):
            weight.copy_(weights[name])
    stored = load_file(folder / "optimizer.safetensors")
    losses = stored.pop("losses").tolist()
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in stored.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return json.loads((folder / "state.json").read_text())["step"], losses


def _learned(model: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    return [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]


def _steps(folder: Path, prefix: str) -> dict[int, Path]:
    found = {}
    for path in folder.glob(f"{prefix}*"):
        if match := re.fullmatch(rf"{prefix}(\d+)", path.name):
            found[int(match[1])] = path
    return dict(sorted(found.items()))
