"""How models are trained, as options of the verbs that train."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar

from typer import Option

from curate.errors import InputError, first_fault


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How models are trained, by `train` itself or in order to score and compare."""

    panel: ClassVar = "Training"
    adapter: Annotated[str | None, Option("--adapter", help="of trainings: lora, or none to train every weight")] = None
    lora_r: Annotated[int | None, Option("--lora-r", min=1, help="rank of the adapters")] = None
    lora_alpha: Annotated[float | None, Option("--lora-alpha", help="scale of the adapters")] = None
    lora_variant: Annotated[
        str | None, Option("--lora-variant", help="lora, rslora, dora, or begun by pissa, olora, eva or corda")
    ] = None
    quantization: Annotated[str | None, Option("--quantization", help="of the weights below adapters: 4bit is QLoRA")] = None
    loss: Annotated[str | None, Option("--loss", help="of a token: nll, dft, or asft")] = None
    anchor: Annotated[float | None, Option("--anchor", help="of asft: weight of the divergence from the start")] = None
    masked_thought: Annotated[
        float | None, Option("--masked-thought", metavar="SHARE", help="of the replies' tokens that the model may not read")
    ] = None
    token_policy: Annotated[
        str | None, Option("--token-policy", help="which reply tokens of a step count: none (all do), rho-1 or sstoken")
    ] = None
    keep_tokens: Annotated[float | None, Option("--keep-tokens", metavar="SHARE", help="of reply tokens, by a token policy")] = (
        None
    )
    reference: Annotated[str | None, Option("--reference", help="of rho-1: model whose losses are subtracted")] = None
    learning_rate: Annotated[float | None, Option("--learning-rate", "--lr", help="of trainings, at its peak")] = None
    batch_tokens: Annotated[int | None, Option("--batch-tokens", min=1, help="of trainings: tokens in a batch")] = None
    bf16: Annotated[bool, Option("--bf16", help="train in mixed precision, bfloat16")] = False
    gradient_checkpointing: Annotated[
        bool, Option("--gradient-checkpointing", help="train in less memory, computing activations twice")
    ] = False

    def recipe(self, **more: Any) -> Any:
        """The settings of a training: those given here and by the verb, the defaults for the rest."""
        from pydantic import ValidationError

        from curate.training.config import TrainConfig

        given = {**asdict(self), **more}
        if given.pop("bf16"):
            given["dtype"] = "bfloat16"
        try:
            return TrainConfig(**{key: value for key, value in given.items() if value is not None})
        except ValidationError as error:
            raise InputError(first_fault(error.errors(), "training setting")) from None


@dataclass(frozen=True, kw_only=True)
class AllTrainingOptions(TrainingOptions):
    """What `train` itself takes beside what every training takes."""

    lora_dropout: Annotated[float | None, Option("--lora-dropout", help="of the adapters' input")] = None
    target_modules: Annotated[
        str | None,
        Option("--target-modules", help="that get an adapter: all-linear, or names with commas"),
    ] = None
    schedule: Annotated[
        str | None, Option("--schedule", "--lr-scheduler-type", help="of the learning rate: cosine, linear, constant")
    ] = None
    warmup_ratio: Annotated[
        float | None, Option("--warmup-ratio", metavar="SHARE", help="of the steps over which the rate rises")
    ] = None
    weight_decay: Annotated[float | None, Option("--weight-decay", help="on matrices, not on norms and biases")] = None
    max_grad_norm: Annotated[float | None, Option("--max-grad-norm", help="gradients are clipped to it; 0: they are not")] = None
    gradient_accumulation: Annotated[
        int | None,
        Option("--gradient-accumulation", "--gradient-accumulation-steps", min=1, help="micro-batches that a batch is cut into"),
    ] = None
    masked_thought_warmup: Annotated[
        float | None, Option("--masked-thought-warmup", metavar="SHARE", help="of the steps over which --masked-thought rises")
    ] = None
    report_to: Annotated[str | None, Option("--report-to", help="a tracker that transformers knows, such as tensorboard")] = None

    def recipe(self, **more: Any) -> Any:
        """The settings of a training; names of modules are a list."""
        names = self.target_modules
        if names is not None and names != "all-linear":
            more["target_modules"] = tuple(name.strip() for name in names.split(","))
        return super().recipe(**more)
