"""How to fine-tune: the settings of a run, and the pure functions of them that plans and trainers share."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from curate.errors import InputError, first_fault

TRAIN_VERSION = 1  # raise it when the same model, rows and config would give other weights

# The best peaks of a sweep on a model 192 wide (mean loss over sources after 100k tokens of mixed instructions in batches
# of 1,024). The best rate falls with the width (arXiv 2203.03466); in inverse proportion these give 9e-6 for full
# fine-tuning and 9e-5 for LoRA at a width of 4,096, about what is usual for models of 7B.
DEFAULT_LEARNING_RATE = {"lora": 2e-3, "none": 2e-4}
SWEPT_WIDTH = 192
OF_SSTOKEN = ("gamma", "attention_layer", "drop_sink", "policy_warmup_steps", "history_decay")
OF_POLICIES = ("token_policy", "keep_tokens", "reference", *OF_SSTOKEN)
OF = {  # what a setting belongs to, where that is not adapter lora
    "anchor": "loss asft", "masked_thought_warmup": "masked_thought above 0", "keep_tokens": "a token_policy",
    "reference": "token_policy rho-1", **dict.fromkeys(OF_SSTOKEN, "token_policy sstoken"),
}  # fmt: skip


class TrainConfig(BaseModel):
    """The settings of one fine-tuning run. Frozen; a wrong value is a pydantic error (a ValueError) naming its field.

    Exactly one of `epochs`, `steps` and `tokens` says how long to train; with none of them it is one epoch.
    `tokens` counts processed non-padding tokens, prompt and reply alike.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    adapter: Literal["lora", "none"] = Field("lora", description="low-rank adapters, or none: train every weight")
    lora_r: int = Field(16, ge=1, description="rank of the adapters")
    lora_alpha: float = Field(32.0, gt=0, description="scale: alpha / r, for rslora alpha / sqrt(r)")
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    lora_variant: Literal["lora", "rslora", "dora", "pissa", "olora", "eva", "corda"] = Field(
        "lora", description="how adapters are scaled, decomposed or initialised; eva and corda look at the rows"
    )
    target_modules: str | tuple[str, ...] = Field("all-linear", description="modules that get an adapter")

    quantization: Literal["none", "4bit"] = Field("none", description="of the frozen weights below adapters; 4bit is QLoRA")

    loss: Literal["nll", "dft", "asft"] = "nll"
    anchor: float = Field(0.05, ge=0, description="of asft: the weight of the divergence from the model at the start")
    masked_thought: float = Field(0.0, ge=0, le=1, description="share of the replies' tokens that the model may not read")
    masked_thought_warmup: float = Field(0.0, ge=0, le=1, description="share of the steps over which that share rises")

    token_policy: Literal["none", "rho-1", "sstoken"] = Field("none", description="which tokens of a step count in the loss")
    keep_tokens: float = Field(0.6, gt=0, le=1, description="share of the reply tokens that token_policy keeps")
    reference: str | None = Field(None, description="of rho-1: the model whose losses are subtracted, a folder or hub name")
    gamma: float = Field(0.5, ge=0, le=1, description="of sstoken: weight of the drop in loss against attention to the prompt")
    attention_layer: int = Field(-1, description="of sstoken: the layer whose attention is read; -1 is the last")
    drop_sink: bool = Field(False, description="of sstoken: attention to the very first token does not count")
    policy_warmup_steps: int = Field(0, ge=0, description="of sstoken: first steps, which choose by attention alone")
    history_decay: float | None = Field(
        None, ge=0, le=1, description="of sstoken: the history is a running mean of weights; by default the model at the start"
    )

    learning_rate: float | None = Field(None, gt=0, description="the peak; by default by adapter and model width")
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: float = Field(0.03, ge=0, lt=1, description="share of the steps over which the rate rises")
    weight_decay: float = Field(0.0, ge=0, description="on matrices only, never on norms and biases")
    max_grad_norm: float = Field(1.0, ge=0, description="0 turns clipping off")

    batch_tokens: int = Field(1024, ge=1, description="non-padding tokens in a batch, that is in one step")
    epochs: float | None = Field(None, gt=0, description="passes over the rows; 0.5 draws half of them")
    steps: int | None = Field(None, ge=1)
    tokens: int | None = Field(None, ge=1)
    gradient_accumulation: int | None = Field(
        None, ge=1, description="micro-batches that a batch is cut into; by default as few as keep padding low"
    )
    gradient_checkpointing: bool = False

    seed: int = Field(0, ge=0)
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="of the computation")
    save_checkpoints: int = Field(0, ge=0, description="evenly spaced checkpoints to keep, the last at the end")
    save_optimizer: bool = Field(False, description="keep adapters and optimizer state beside each of these checkpoints")
    checkpoint_steps: int | None = Field(None, ge=1, description="steps between two states that a run can resume from")
    report_to: str = Field("none", description="a tracker that transformers knows, such as tensorboard")

    @model_validator(mode="before")
    @classmethod
    def _one_length(cls, data: Any) -> Any:
        if isinstance(data, dict):
            given = [name for name in ("epochs", "steps", "tokens") if data.get(name) is not None]
            if len(given) > 1:
                raise ValueError(f"give only one of epochs, steps and tokens, not {' and '.join(given)}")
            if not given:
                return {**data, "epochs": 1.0}
        return data

    @model_validator(mode="after")
    def _possible(self) -> "TrainConfig":
        unused = {"anchor": self.loss == "asft", "masked_thought_warmup": self.masked_thought > 0}
        unused |= dict.fromkeys(("lora_r", "lora_alpha", "lora_dropout", "lora_variant"), self.adapter == "lora")
        unused |= {"keep_tokens": self.token_policy != "none", "reference": self.token_policy == "rho-1"}
        unused |= dict.fromkeys(OF_SSTOKEN, self.token_policy == "sstoken")
        for name, used in unused.items():
            if not used and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name}: it has a meaning for {OF.get(name, 'adapter lora')} only")
        if self.token_policy != "none" and self.masked_thought:
            raise ValueError("masked_thought: what is hidden from the model has no loss that token_policy could compare")
        if self.quantization != "none" and self.adapter == "none":
            raise ValueError("quantization: 4bit weights cannot be trained; it needs adapter lora")
        if self.quantization != "none" and self.changes_base:
            raise ValueError(
                f"quantization: {self.lora_variant} takes its adapters out of the weights, which 4bit would round off"
            )
        if self.save_optimizer and not self.save_checkpoints:
            raise ValueError("save_optimizer: it is kept beside checkpoints; set save_checkpoints too")
        if self.save_optimizer and self.adapter == "lora" and self.lora_variant == "corda":
            raise ValueError("save_optimizer: corda's adapters cannot be put on the model again without the rows they came from")
        return self

    @property
    def changes_base(self) -> bool:
        """Whether the adapters take over part of the weights below them, so that these are no longer those of the start."""
        return self.adapter == "lora" and self.lora_variant in ("pissa", "olora", "corda")

    @property
    def more_forwards(self) -> int:
        """Forward passes that a step takes beside its own: of the anchor, of a token policy, of its history."""
        return (self.loss == "asft") + (self.token_policy != "none") + (self.history_decay is not None)

    def trained_for(self, epochs: float, seed: int) -> "TrainConfig":
        """The same settings for so many epochs and another seed."""
        kept = self.model_dump(exclude={"epochs", "steps", "tokens", "seed"})
        return TrainConfig(**kept, epochs=epochs, seed=seed)

    def every_token(self) -> "TrainConfig":
        """The same settings without a token policy."""
        return TrainConfig(**self.model_dump(exclude=set(OF_POLICIES)))

    @property
    def policy(self) -> dict[str, Any] | None:
        """The settings of its token policy; None where every token counts."""
        return None if self.token_policy == "none" else self.model_dump(include=set(OF_POLICIES))

    def under(self, policy: Mapping[str, Any]) -> "TrainConfig":
        """The same settings with this token policy in place of its own. Raises InputError where they do not go together."""
        try:
            return TrainConfig(**self.every_token().model_dump() | dict(policy))
        except ValidationError as error:
            raise InputError(first_fault(error.errors(), "training setting")) from None

    def inheriting(self, policy: Mapping[str, Any] | None) -> "TrainConfig":
        """The same settings with the token policy of what they train on, unless they name one (or none) themselves.

        Raises InputError as `under`, and where the policy's reference is gone.
        """
        if policy is None or "token_policy" in self.model_fields_set:
            return self
        reference = policy.get("reference")
        if reference is not None and Path(reference).is_absolute() and not Path(reference).is_dir():
            raise InputError(
                f"the rows were selected for {policy['token_policy']}, and its reference model {reference} is gone; name one "
                "(--token-policy rho-1 --reference MODEL), select again, or count all tokens (--token-policy none)"
            )
        return self.under(policy)

    def identity(self) -> dict[str, Any]:
        """What makes the trained weights what they are: the settings that differ from their defaults.

        A setting that is added later leaves the identity of earlier runs as it was; a default that changes needs another
        TRAIN_VERSION. The reference is left out, for its name does not say what it is: who keeps results adds a hash of it.
        """
        return self.model_dump(mode="json", exclude_defaults=True, exclude={"checkpoint_steps", "report_to", "reference"})

    def peak_learning_rate(self, width: int) -> float:
        """The learning rate after warm-up for a model whose hidden states have `width` entries."""
        return self.learning_rate or DEFAULT_LEARNING_RATE[self.adapter] * SWEPT_WIDTH / width


def learning_rate_factor(config: TrainConfig, step: int, steps: int) -> float:
    """The learning rate of step `step` (0 is the first) of `steps`, as a share of the peak.

    It rises linearly over the first ceil(warmup_ratio * steps) steps, the first of which already learns something,
    then falls to just above 0 at the last step (`cosine`, `linear`) or stays (`constant`).
    """
    warmup = math.ceil(config.warmup_ratio * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, steps - warmup)
    return {"cosine": (1 + math.cos(math.pi * done)) / 2, "linear": 1 - done, "constant": 1.0}[config.schedule]


def steps_to_save(config: TrainConfig, steps: int) -> list[int]:
    """After which of `steps` steps the `save_checkpoints` checkpoints are written: evenly spaced, the last at the end.

    ValueError when there are fewer steps than checkpoints.
    """
    wanted = config.save_checkpoints
    if wanted > steps:
        takes = "1 step" if steps == 1 else f"{steps:,} steps"
        raise ValueError(
            f"{wanted} checkpoints were asked for, but the training takes only {takes}; ask for fewer, or train longer"
        )
    return [round(i * steps / wanted) for i in range(1, wanted + 1)]


def mean_rates(config: TrainConfig, steps: int) -> list[float]:
    """The mean learning rate, as a share of the peak, of the steps up to each checkpoint since the one before it.

    ValueError as `steps_to_save`.
    """
    saves = [0, *steps_to_save(config, steps)]
    rates = [learning_rate_factor(config, step, steps) for step in range(steps)]
    return [sum(rates[a:b]) / (b - a) for a, b in zip(saves, saves[1:])]


def training_flops(
    trainable: int, frozen: int, tokens: int, *, gradient_checkpointing: bool = False, more_forwards: int = 0
) -> float:
    """Floating-point operations of training on `tokens` tokens: (6 * trainable + 4 * frozen) * tokens.

    A weight takes 2 operations per token forward and 2 to carry the gradient to its input, and a trainable one 2 more
    for its own gradient; gradient checkpointing does the forward again (2), and so does each of `more_forwards` (an anchor, in
    the model of the start; a token policy). So full fine-tuning costs the usual 6 N T and LoRA about 4 N T. Attention's own
    products, padding and what eva and corda look at are left out. Source: arXiv 2001.08361, 2.1.
    """
    again = 2 * (trainable + frozen) * (gradient_checkpointing + more_forwards)
    return float((6 * trainable + 4 * frozen + again) * tokens)


def expected_tokens(config: TrainConfig, lengths: Any) -> int:
    """About how many tokens training on rows of these lengths (int [n], tokens) takes."""
    if config.steps:
        return config.steps * config.batch_tokens
    return config.tokens or round((config.epochs or 0) * float(lengths.sum()))


def expected_steps(config: TrainConfig, lengths: Any) -> int:
    """About how many steps training on rows of these lengths (int [n], tokens) takes; exact up to one."""
    return config.steps or max(1, round(expected_tokens(config, lengths) / config.batch_tokens))
