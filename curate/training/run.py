"""One training run: what identifies it, how far it is, and what it leaves on disk."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from curate.errors import InputError
from curate.lm.encodings import Encodings
from curate.training.checkpoints import write_model, write_state
from curate.training.config import TRAIN_VERSION, TrainConfig, steps_to_save
from curate.training.folders import STATE_VERSION, prepare_output
from curate.training.masking import mask_token, masked_share, masked_thought
from curate.training.policies import TokenPolicy

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass
class Run:
    """One training run: how far it is, and what it leaves on disk."""

    config: TrainConfig
    tokenizer: "PreTrainedTokenizerBase | None"
    output: Path | None
    steps: int
    fingerprint: str
    progress: Callable[[int, int], None] | None
    done: int = 0
    losses: list[float] = field(default_factory=list)
    saves: list[int] = field(default_factory=list)
    policy: TokenPolicy | None = None

    def prepare(self, resume: bool) -> Path | None:
        """Check settings against the plan and the output folder; the state to resume from, if there is one."""
        try:
            self.saves = steps_to_save(self.config, self.steps)
        except ValueError as error:
            raise InputError(str(error)) from error
        needed = bool(self.saves) or self.config.checkpoint_steps is not None
        return prepare_output(self.output, needed=needed, resume=resume, fingerprint=self.fingerprint)

    def checkpoint(self, step: int) -> Path:
        assert self.output is not None  # `prepare` has seen to it
        return self.output / f"checkpoint-{step}"

    def finish_step(self, loss: float, model: Any, optimizer: Any, *, main: bool) -> None:
        """Count a step; on the main process write what is due after it."""
        self.done += 1
        self.losses.append(loss)
        if not main:
            return
        if self.done in self.saves:
            write_model(model, self.checkpoint(self.done), self.tokenizer, optimizer if self.config.save_optimizer else None)
        every = self.config.checkpoint_steps
        if every is not None and self.output is not None and (self.done % every == 0 or self.done == self.steps):
            history = self.policy.state() if self.policy else {}
            write_state(self.output, self.done, self.fingerprint, model, optimizer, self.losses, history)
        if self.progress is not None:
            self.progress(self.done, self.steps)

    @property
    def hide(self) -> Callable[[int, int, np.ndarray, np.ndarray], np.ndarray]:
        """What the model reads of a row in the batch of that number from here on; InputError when nothing can stand in."""
        if not self.config.masked_thought:
            return lambda batch, row, ids, reply: ids
        mask, config, done = mask_token(self.tokenizer), self.config, self.done

        def hide(batch: int, row: int, ids: np.ndarray, reply: np.ndarray) -> np.ndarray:
            step = done + batch
            return masked_thought(ids, reply, masked_share(config, step, self.steps), mask, config.seed, step, row)

        return hide


def identity(
    model: Any, config: TrainConfig, encodings: Encodings, weights: list[np.ndarray], reference: Sequence[np.ndarray]
) -> str:
    """A hash of what a run begins from: the model, the settings, the tokens and how much each counts."""
    digest = hashlib.sha256(f"{TRAIN_VERSION}.{STATE_VERSION}".encode())
    digest.update(json.dumps(config.identity(), sort_keys=True).encode())
    for name, weight in model.named_parameters():  # a few numbers of each tell two models apart
        digest.update(f"{name} {tuple(weight.shape)}".encode() + weight.detach().flatten()[:8].float().cpu().numpy().tobytes())
    for ids, weight in zip(encodings.input_ids, weights, strict=True):
        digest.update(len(ids).to_bytes(8, "little") + np.asarray(ids, np.int32).tobytes() + weight.tobytes())
    for losses in reference:
        digest.update(np.asarray(losses, np.float32).tobytes())
    return digest.hexdigest()[:32]
