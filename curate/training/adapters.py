"""Low-rank adapters by peft, whose initialisation may look at the model's weights or at the rows.

lora    arXiv 2106.09685; rslora 2312.03732 (scaled by alpha / sqrt(r)); dora 2402.09353 (magnitude and direction apart).
pissa   2404.02948: the principal singular vectors of each weight; olora 2406.01775: those of its QR decomposition.
eva     2410.07170: the principal directions of what each layer reads at the replies' tokens; ranks go where these explain most.
corda   2406.05223: the principal directions of each weight in the context of what it reads, prompt and reply alike.
QLoRA   2305.14314: any of the first three, or eva, on weights in 4 bits.
"""

import itertools
import warnings
import zlib
from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
import torch
from peft import (
    EvaConfig,
    LoraConfig,
    PeftModel,
    get_peft_model,
    initialize_lora_eva_weights,
    prepare_model_for_kbit_training,
)
from peft.tuners.lora.config import CordaConfig
from peft.tuners.lora.corda import preprocess_corda
from peft.tuners.tuners_utils import check_target_module_exists
from transformers.pytorch_utils import Conv1D

from curate.errors import InputError
from curate.lm.gradient_config import FreshAdapters
from curate.training.config import TrainConfig
from curate.training.losses import IGNORED, head_sees

CALIBRATION_BATCHES = 32  # of the run's first, for eva and corda; eva stops at fewer when its directions no longer turn
EVA_PASSES = 20  # over those batches, after which directions that still turn will not settle

Batch = dict[str, Any]  # input_ids, attention_mask and labels, [B, T], padded on the right


def add_adapters(model: Any, config: TrainConfig, batches: Sequence[Batch]) -> PeftModel:
    """The model with new adapters; its own weights are frozen, and changed where `config.changes_base`.

    batches: what eva and corda look at. The same model, config and batches give the same adapters.
    Raises InputError for modules that are not there, a rank that the weights have not, and too few tokens to look at.
    """
    targets, variant = config.target_modules, config.lora_variant
    more: dict[str, Any] = {}  # given at once, since peft warns of what it fills in itself
    if variant == "corda":
        more = {"corda_config": CordaConfig(corda_method="ipm")}
    if variant == "eva":
        more = {"eva_config": EvaConfig()}
    adapters = LoraConfig(
        r=config.lora_r,
        lora_alpha=config.lora_alpha,  # type: ignore[arg-type]
        lora_dropout=config.lora_dropout,
        use_rslora=variant == "rslora",
        use_dora=variant == "dora",
        init_lora_weights=variant if variant in ("pissa", "olora", "eva", "corda") else True,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
        **more,
    )
    if config.quantization == "4bit":
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    if variant in ("pissa", "olora", "corda"):
        _check_rank(config, min(min(_shape(module)) for module in _targeted(model, adapters).values()))
    if variant == "eva":
        widths = [_shape(module)[1] for module in _targeted(model, adapters).values()]
        _check_rank(config, min(widths) // 2)  # peft's incremental SVD takes twice as many directions as it is asked for
        more["eva_config"].rho = min(2.0, min(widths) / 2 / config.lora_r)
    if variant == "corda":
        _look_for_corda(model, adapters, batches)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # peft's advice on how to load eva
            adapted = get_peft_model(model, adapters)
    except ValueError as error:
        raise InputError(f"target_modules: {str(error).splitlines()[0]}") from error
    if variant == "eva":
        _look_for_eva(adapted, adapters, batches)
    for weight in adapted.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()  # where eva gave a layer another rank, peft made them like the layer
    for module in adapted.modules():
        if hasattr(module, "eigens"):  # corda's, which are in the adapters now
            del module.eigens
    return adapted


def fresh_adapters(model: Any, config: FreshAdapters) -> PeftModel:
    """The model with untrained adapters, the same for the same model and config; both its weights and A are not to be trained.

    Each A is drawn by its name and the seed. Raises InputError for modules that are not there.
    """
    targets = config.target_modules
    adapters = LoraConfig(target_modules=targets if isinstance(targets, str) else list(targets), task_type="CAUSAL_LM")
    adapters.r = min(config.r, min(min(_shape(module)) for module in _targeted(model, adapters).values()))
    adapters.lora_alpha = config.alpha or adapters.r**1.5  # type: ignore[assignment]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of weights that are stored transposed, which peft handles
        warnings.simplefilter("ignore", FutureWarning)  # peft still asks transformers by a deprecated name
        adapted = get_peft_model(model, adapters)
    for name, weight in adapted.named_parameters():
        if ".lora_A." in name:
            drawn = np.random.default_rng([config.seed, zlib.crc32(name.encode())]).standard_normal(weight.shape, np.float32)
            weight.data = torch.from_numpy(drawn / adapters.r).to(weight.device)
        weight.requires_grad_(".lora_B." in name)
    return adapted.eval()


def _targeted(model: Any, adapters: LoraConfig) -> dict[str, torch.nn.Module]:
    """The linear layers that get an adapter, by name. InputError when there are none."""
    head = model.get_output_embeddings()
    linear = {name: module for name, module in model.named_modules() if isinstance(module, (torch.nn.Linear, Conv1D))}
    if adapters.target_modules == "all-linear":
        return {name: module for name, module in linear.items() if module is not head}
    found = {name: module for name, module in linear.items() if check_target_module_exists(adapters, name)}
    if not found:
        raise InputError(f"target_modules: no linear layer of the model is among {adapters.target_modules}")
    return found


def _shape(module: Any) -> tuple[int, int]:
    """Entries that a layer gives and takes."""
    if isinstance(module, Conv1D):
        return module.weight.shape[1], module.weight.shape[0]
    return module.out_features, module.in_features


def _check_rank(config: TrainConfig, largest: int) -> None:
    if config.lora_r > largest:
        raise InputError(
            f"lora_r: {config.lora_variant} finds at most {largest} directions in these weights, not {config.lora_r}"
        )


def _look_for_corda(model: Any, adapters: LoraConfig, batches: Sequence[Batch]) -> None:
    """Give each layer the directions that `get_peft_model` makes its adapters of; peft wants one row at a time."""

    def run() -> None:
        for batch in batches:
            for ids, real in zip(batch["input_ids"], batch["attention_mask"].bool(), strict=True):
                _read(model, ids[real][None], None)

    named = copy(adapters)
    named.target_modules = set(_targeted(model, adapters))  # it does not know what all-linear stands for
    preprocess_corda(model, named, run_model=run)


def _look_for_eva(adapted: PeftModel, adapters: LoraConfig, batches: Sequence[Batch]) -> None:
    """Turn the adapters to what the layers read at the replies' tokens, over and over until the directions stay."""
    assert adapters.eva_config is not None
    fewest = 2 * round(adapters.r * adapters.eva_config.rho)
    enough = [batch for batch in batches if int((batch["labels"] != IGNORED).sum()) >= fewest]
    if not enough:
        raise InputError(f"lora_variant: eva needs {fewest} reply tokens in a batch at rank {adapters.r}; raise batch_tokens")
    reads = itertools.count(1)

    def forward(model: Any, batch: Batch) -> None:
        if next(reads) > EVA_PASSES * (len(enough) + 1):
            raise InputError("lora_variant: eva's directions do not settle on these rows; try --lora-r 4 or more --batch-tokens")
        _read(model, batch["input_ids"], batch["attention_mask"])

    enough = [{name: batch[name] for name in ("input_ids", "attention_mask", "labels")} for batch in enough]
    initialize_lora_eva_weights(
        adapted, enough, forward_fn=forward, gather_distributed_inputs=False, show_progress_bar=False
    )  # every process looks at the same batches


def _read(model: Any, ids: torch.Tensor, real: torch.Tensor | None) -> None:
    """Run the model without asking for any logits."""
    ids = ids.to(model.device)
    nothing = torch.zeros_like(ids[:, 1:], dtype=torch.bool)
    with torch.no_grad(), head_sees(model, nothing):
        model(input_ids=ids, attention_mask=None if real is None else real.to(model.device), use_cache=False)
