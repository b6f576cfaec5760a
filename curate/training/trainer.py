"""Fine-tuning a causal language model on encoded conversations: read from top to bottom.

`train` plans the batches (batches.py), pads them (examples.py), puts adapters on the model (adapters.py), and hands all to
transformers' Trainer. What is ours: which rows make a batch, the loss (losses.py), which tokens count in it (policies.py), the
learning rate, and what a run leaves on disk (run.py), without pickle (checkpoints.py). What is theirs: the loop, mixed
precision, gradient clipping and accumulation, several GPUs (torchrun), trackers.
"""

import contextlib
import copy
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from peft import PeftModel
from torch.utils.data import DataLoader
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.integrations import get_reporting_integration_callbacks

from curate.errors import CurateError, InputError
from curate.lm.encodings import Encodings
from curate.lm.layers import attention_module
from curate.training.adapters import CALIBRATION_BATCHES, add_adapters
from curate.training.batches import micro_batches, plan_batches
from curate.training.checkpoints import merged, read_history, read_state, write_model
from curate.training.config import TrainConfig, expected_tokens, learning_rate_factor, training_flops
from curate.training.examples import MicroBatches, loss_tokens, only, token_weights
from curate.training.losses import IGNORED, head_sees, token_losses, without_adapters
from curate.training.policies import TokenPolicy, past_losses
from curate.training.quiet import private_randomness, quiet
from curate.training.run import Run, identity

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Where the number of micro-batches is ours to choose: padding that is put up with, as a share of the real tokens.
# A CPU's time goes by the token, while a GPU would rather have fewer and larger micro-batches.
TELLING_BATCHES = 1000
PADDING_LIMIT = {"cpu": 0.1, "gpu": 0.5}


@dataclass
class TrainResult:
    """A trained model and what it took.

    model          the model that was passed in, now trained; with adapters it is wrapped in a PeftModel
    steps          optimizer steps of the whole run, those before a resume included
    epochs         rows drawn / rows
    tokens         processed non-padding tokens; loss_tokens those of them that counted in the loss
    seconds        wall time of the steps (after a resume: of those since)
    flops          see `training_flops`
    learning_rate  the peak
    losses         mean loss of each step in nats per token, by `config.loss`; NaN where a batch had no token to learn from
    checkpoints    model folders, in the order of their steps
    """

    model: Any
    tokenizer: "PreTrainedTokenizerBase | None"
    steps: int
    epochs: float
    tokens: int
    loss_tokens: int
    seconds: float
    flops: float
    learning_rate: float
    losses: list[float]
    checkpoints: list[Path] = field(default_factory=list)

    def account(self) -> dict[str, float]:
        """The numbers that are kept: tokens, loss_tokens, epochs, steps, seconds, flops, learning_rate."""
        names = ("tokens", "loss_tokens", "epochs", "steps", "seconds", "flops", "learning_rate")
        return {name: getattr(self, name) for name in names}

    def merged(self, base: Callable[[], Any] | None = None) -> Any:
        """The model with its adapters merged into its weights; from then on `model` is the merged one. base: see `merged`."""
        if isinstance(self.model, PeftModel):
            self.model = merged(self.model, base)
        return self.model


def train(
    model: Any,
    tokenizer: "PreTrainedTokenizerBase | None",
    encodings: Encodings,
    config: TrainConfig,
    *,
    weights: Sequence[np.ndarray] | None = None,
    reference: Sequence[np.ndarray] | None = None,
    output: str | Path | None = None,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> TrainResult:
    """Fine-tune `model` (a loaded AutoModelForCausalLM) in place, on the device where it is.

    model      for `quantization` loaded in 4 bits; see `curate.lm.models.load_model`.
    tokenizer  written beside the weights of checkpoints; its padding token fills batches (0 without one), and `mask_token`
               stands for what `masked_thought` hides.
    weights    per row float [T_i], how much each token counts in the loss (>= 0; 0 leaves it out); by default 1.
    reference  for the token policy rho-1: per row float [S_i], the reference model's loss of each scored token, in nats: the
               reply's tokens (`loss_mask`) but a conversation's first.
    output     folder for checkpoints and for states to resume from; not needed without either.
    resume     continue from the last state in `output`, or begin anew where there is none; `model` is the same
               untrained model as the first time.
    progress   called with (steps done, steps in all) after each step.

    The loss of a step is the weighted mean over the reply tokens of its whole batch, sum(w * loss) / sum(w) in float32, over
    those of them that a token policy keeps where there is one, however the batch is cut into micro-batches or spread over
    processes (torchrun: each process calls this with the same arguments, and the first one writes). On the CPU, with the same
    number of threads, the same seed gives the same weights bit for bit, resumed or not. Global random generators are left as
    they were.

    Raises InputError when the input does not fit together, CurateError when loss or weights stop being finite numbers.
    """
    if isinstance(model, PeftModel):
        raise InputError("the model carries adapters already; merge them first")
    if config.dtype == "float16" and model.device.type == "cpu":
        raise InputError("dtype: float16 needs a GPU to train on")
    if getattr(model, "is_loaded_in_4bit", False) != (config.quantization == "4bit"):
        raise InputError(f"the model was loaded in other bits than the setting quantization: {config.quantization} says")
    counted = token_weights(encodings, weights)
    batches = plan_batches(encodings.lengths, config, np.random.default_rng(config.seed))
    folder = None if output is None else Path(output)
    made_from = identity(model, config, encodings, counted, reference or ())
    run = Run(config, tokenizer, folder, len(batches), made_from, progress)
    state = run.prepare(resume)
    policed, past = config.token_policy != "none", None
    drawn = np.concatenate(batches)
    if config.token_policy == "sstoken":
        attention_module(model, config.attention_layer)  # one that is not there is said now
    if policed:
        past = past_losses(config, model, encodings, drawn, reference)

    with quiet(), private_randomness(config.seed), tempfile.TemporaryDirectory() as scratch:
        arguments = _arguments(config, model.device.type, str(folder or scratch))
        padding = getattr(tokenizer, "pad_token_id", None) or 0
        whole = MicroBatches(encodings, counted, [[batch] for batch in batches[:CALIBRATION_BATCHES]], padding)
        model, start = _prepare_model(model, config, whole)
        optimizer = _optimizer(model, config)
        run.policy = TokenPolicy(config, model) if policed else None
        if state is not None:
            run.done, run.losses = read_state(state, model, optimizer)
            if run.policy is not None:
                run.policy.restore(read_history(state))
        started = time.perf_counter()
        if run.done < run.steps:
            parts = _cut(encodings.lengths, batches, config, model.device.type, arguments.world_size)
            arguments.max_steps = run.steps - run.done
            arguments.gradient_accumulation_steps = len(parts[0]) // arguments.world_size
            data = MicroBatches(encodings, counted, parts[run.done :], padding, run.hide, past)
            optimizers = optimizer, _scheduler(optimizer, run)
            _Trainer(run, start, model=model, args=arguments, train_dataset=data, optimizers=optimizers).train()
        seconds = time.perf_counter() - started
        if config.gradient_checkpointing:
            model.gradient_checkpointing_disable()
    if not all(bool(torch.isfinite(weight).all()) for weight in model.parameters() if weight.requires_grad):
        raise CurateError(f"the weights are not finite numbers after step {run.steps}; try a smaller learning_rate")

    model.eval()
    tokens = int(encodings.lengths[drawn].sum())
    return TrainResult(
        model=model,
        tokenizer=tokenizer,
        steps=run.steps,
        epochs=len(drawn) / len(encodings),
        tokens=tokens,
        loss_tokens=loss_tokens(config, counted, batches),
        seconds=seconds,
        flops=_flops(model, config, tokens),
        learning_rate=config.peak_learning_rate(_width(model)),
        losses=run.losses,
        checkpoints=[run.checkpoint(step) for step in run.saves],
    )


def accumulation(lengths: np.ndarray, config: TrainConfig, device: str, processes: int = 1) -> int:
    """Into how many micro-batches per process the batches of a run on rows of these lengths, int64 [n], are cut.

    Of a long run the first batches tell.
    """
    most = TELLING_BATCHES * config.batch_tokens
    if expected_tokens(config, lengths) > most:
        config = config.model_copy(update={"epochs": None, "steps": None, "tokens": most})
    batches = plan_batches(lengths, config, np.random.default_rng(config.seed))
    return len(_cut(lengths, batches, config, device, processes)[0]) // processes


def _cut(
    lengths: np.ndarray, batches: list[np.ndarray], config: TrainConfig, device: str, processes: int
) -> list[list[np.ndarray]]:
    limit = PADDING_LIMIT["cpu" if device == "cpu" else "gpu"]
    return micro_batches(lengths, batches, config.gradient_accumulation, processes, limit)


def save_model(
    trained: "TrainResult | torch.nn.Module", folder: str | Path, tokenizer: "PreTrainedTokenizerBase | None" = None
) -> None:
    """Write a model folder that AutoModelForCausalLM loads: safetensors, adapters merged, and the tokenizer.

    The model itself stays as it is. The folder appears whole or not at all; InputError when it is there and not empty.
    """
    if isinstance(trained, TrainResult):
        write_model(trained.model, Path(folder), tokenizer or trained.tokenizer)
    else:
        write_model(trained, Path(folder), tokenizer)


# ---- the model and how it learns


def _prepare_model(model: Any, config: TrainConfig, batches: "MicroBatches") -> tuple[Any, Any]:
    """The model in its training dtype, with adapters if asked for, and gradients where it is to learn.

    And a frozen copy of it as it was, where a loss wants that and taking the adapters off would not give it back.
    """
    # A frozen base may be in half precision (adapters stay in float32); weights that learn are always float32.
    if config.quantization == "none":
        model.to(getattr(torch, config.dtype) if config.adapter == "lora" else torch.float32)
    start = None
    if config.loss == "asft" and (config.adapter == "none" or config.changes_base):
        start = copy.deepcopy(model).eval().requires_grad_(False)
    if config.adapter == "lora":
        looked_at = [batches[i] for i in range(len(batches))] if config.lora_variant in ("eva", "corda") else []
        model = add_adapters(model, config, looked_at)
    else:
        model.requires_grad_(True)
    if config.gradient_checkpointing:
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)({"use_reentrant": False})
    return model, start


def _width(model: Any) -> int:
    return int(model.get_input_embeddings().weight.shape[1])


def _optimizer(model: Any, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW; weight decay on matrices only."""
    peak = config.peak_learning_rate(_width(model))
    learned = [weight for weight in model.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in learned if weight.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [weight for weight in learned if weight.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=peak)


def _scheduler(optimizer: torch.optim.Optimizer, run: "Run") -> torch.optim.lr_scheduler.LRScheduler:
    config, done, steps = run.config, run.done, run.steps
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(config, done + step, steps))


def _arguments(config: TrainConfig, device: str, folder: str) -> TrainingArguments:
    try:
        for tracker in get_reporting_integration_callbacks([config.report_to] if config.report_to != "none" else []):
            tracker()
    except (RuntimeError, ValueError) as error:  # it is not installed, or there is none of that name
        raise InputError(f"report_to: {error}") from None
    arguments = TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=1,  # an item of the dataset is a whole micro-batch
        max_grad_norm=config.max_grad_norm,
        seed=config.seed,
        bf16=config.dtype == "bfloat16",
        fp16=config.dtype == "float16",
        use_cpu=device == "cpu",
        report_to=config.report_to,
        logging_strategy="no" if config.report_to == "none" else "steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        remove_unused_columns=False,
        disable_tqdm=True,
        log_level="error",
    )
    # Several GPUs seen by one process would make the Trainer copy the model to all of them and cut our batches up.
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


class _Trainer(Trainer):
    """transformers' Trainer with our batches in our order, and our loss."""

    def __init__(self, run: "Run", start: Any, model: Any, **arguments: Any):
        use_cache = model.config.use_cache
        super().__init__(model=model, **arguments)
        model.config.use_cache = use_cache  # off in our forward pass, but the model that is saved may use it
        self.step_loss = torch.zeros((), device=self.args.device)
        # The loss is divided by the weight of the whole batch already.
        self.loss_is_scaled_for_ga = self.model_accepts_loss_kwargs = True
        self.run, self.start = run, start
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)
        self.add_callback(_Steps(self))

    def get_train_dataloader(self) -> DataLoader:
        """Our micro-batches one after the other; with several processes each takes its share of every batch."""
        data: Any = self.train_dataset
        return self.accelerator.prepare(DataLoader(data, batch_size=1, shuffle=False, collate_fn=only))

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[Any], Any]:
        """The micro-batches of one step; a token policy chooses among all of their tokens before any is learned from."""
        items, count = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self.run.policy is not None:
            with self.accelerator.autocast():
                self.run.policy.choose(self.model, items, self.run.done)
        return items, count

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Gradients of one micro-batch; none at all where its batch has nothing to learn, so AdamW stands still."""
        if inputs["batch_weight"] == 0:
            self.step_loss += float("nan")
            return torch.zeros_like(self.step_loss)
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not torch.isfinite(loss):
            step = self.run.done + 1
            cause = "the model gives no number before it has learned anything" if step == 1 else "try a smaller learning_rate"
            raise CurateError(f"the loss is not a finite number at step {step}; {cause}")
        self.step_loss += loss
        return loss

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """sum(w * loss) over the micro-batch / sum(w) over the batch: a micro-batch's share of the batch's mean loss."""
        labels, weights = inputs["labels"][:, 1:], inputs["weights"][:, 1:]
        learned, config = labels != IGNORED, self.run.config
        before = self._at_start(inputs, learned) if config.loss == "asft" else None
        with head_sees(self.accelerator.unwrap_model(model), learned):
            output = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
        losses = token_losses(output.logits[0], labels[learned], config.loss, before, config.anchor) * weights[learned]
        # Gradients are averaged over processes, but the shares of a batch add up.
        loss = losses.sum() / inputs["batch_weight"] * self.accelerator.num_processes
        return (loss, output) if return_outputs else loss

    def _at_start(self, inputs: dict[str, Any], learned: torch.Tensor) -> torch.Tensor:
        """[learned, vocabulary]: the logits of the model that training started from, for what it reads now."""
        frozen = without_adapters(self.model) if self.start is None else contextlib.nullcontext(self.start)
        with torch.no_grad(), frozen as start, head_sees(start, learned):
            return start(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False).logits[0]

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted here: `training_flops` knows what is trained."""
        return 0


class _Steps(TrainerCallback):
    """Around each step: seed it, note its loss, write what is due, report progress."""

    def __init__(self, trainer: _Trainer):
        self.trainer, self.run = trainer, trainer.run

    def on_step_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        # Dropout depends on seed and step alone, so that a resumed run needs no generator's state.
        sequence = np.random.SeedSequence([args.seed, self.run.done, args.process_index])
        torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0]))

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        loss = self.trainer.accelerator.reduce(self.trainer.step_loss, "mean")
        self.trainer.step_loss = torch.zeros_like(loss)
        if self.run.policy is not None:
            self.run.policy.after_step(self.trainer.model)
        model, optimizer = self.trainer.model, self.trainer.optimizer
        self.run.finish_step(float(loss), model, optimizer, main=state.is_world_process_zero)


def _flops(model: Any, config: TrainConfig, tokens: int) -> float:
    """`training_flops` of the model; an input embedding that is not also the output head only looks up."""
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    multiplied = [weight for weight in model.parameters() if weight is not embedding or embedding is head]
    trainable = sum(weight.numel() for weight in multiplied if weight.requires_grad)
    frozen = sum(_size(weight) for weight in multiplied if not weight.requires_grad)
    again, more = config.gradient_checkpointing, config.more_forwards
    return training_flops(trainable, frozen, tokens, gradient_checkpointing=again, more_forwards=more)


def _size(weight: Any) -> int:
    """Numbers that a weight stands for; in 4 bits several share one element."""
    state = getattr(weight, "quant_state", None)
    return weight.numel() if state is None else state.shape.numel()
