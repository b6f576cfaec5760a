"""The folders of a training run: which there are, and whether a run may write or resume there. Needs no torch.

    checkpoint-<step>/            the model after that step, as a folder that AutoModelForCausalLM loads
    checkpoint-<step>/training/   with `save_optimizer`: the adapters by themselves, and the optimizer's state
    states/step-<step>/           the latest state to resume from: what is trained, the optimizer, the losses so far

Safetensors and JSON only; each folder appears whole or not at all.
"""

import json
import os
import re
import shutil
from pathlib import Path

from curate.errors import InputError
from curate.files import is_temporary

STATE_VERSION = 2  # raise it when the files of a state are laid out in another way


def model_checkpoints(output: Path) -> dict[int, Path]:
    """The model folders in `output` by step, ascending (numerically: 900 before 1000)."""
    return steps_in(output, "checkpoint-")


def prepare_output(output: Path | None, *, needed: bool, resume: bool, fingerprint: str) -> Path | None:
    """Check `output` before a run; the state to resume from, None for a run from the beginning.

    Raises InputError when a folder is needed and not given, when a fresh run would mix with an earlier one's
    checkpoints, or when the state to resume from belongs to other rows, settings or another model.
    """
    if output is None:
        if needed or resume:
            raise InputError("checkpoints and resuming need an output folder; give `output`")
        return None
    states, models = steps_in(output / "states", "step-"), model_checkpoints(output)
    if not resume and (states or models):
        raise InputError(f"{output} holds the checkpoints of an earlier run; resume it, or name another folder")
    step, state = max(states.items(), default=(0, None))
    if state is not None and json.loads((state / "state.json").read_text())["fingerprint"] != fingerprint:
        raise InputError(f"{state} was left by a run on other rows, with other settings or of another model; name another folder")
    for unfinished in (path for place in (output, output / "states") for path in place.glob(".*") if is_temporary(path)):
        shutil.rmtree(unfinished, ignore_errors=True)  # a killed process could not
    for later in (folder for at, folder in models.items() if at > step):
        shutil.rmtree(later, ignore_errors=True)  # they come again
    return state


def steps_in(folder: Path, prefix: str) -> dict[int, Path]:
    """The folders whose name is the prefix and a step, by step, ascending."""
    found = {}
    for path in folder.glob(f"{prefix}*"):
        if match := re.fullmatch(rf"{prefix}(\d+)", path.name):
            found[int(match[1])] = path
    return dict(sorted(found.items()))


def first_process() -> bool:
    """Whether this process is the one of a run under torchrun that writes and speaks; alone it is."""
    return os.environ.get("RANK", "0") == "0"
