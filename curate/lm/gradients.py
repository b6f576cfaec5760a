"""The gradient of every row's own loss with respect to low-rank adapters, for a batch of rows at once.

The loss of a row is the mean over its scored tokens, in nats. With x the input of a linear layer W and g the gradient at its
output, both of one row, the gradient of W is the sum of g x^T over the row's tokens; so one backward pass of a batch holds
the gradients of all its rows. An adapter is two such layers, A and B. Token weights do not count here.

A gradient is flat: adapter weights in the order of their names in `model.named_parameters()` as text (so layers.10 comes
before layers.2), each row-major, A [r, in] and B [out, r].
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from curate.errors import InputError
from curate.lm.batching import batches_by_length
from curate.lm.encodings import Encodings
from curate.lm.forward import BATCH_TOKENS, HEAD_NUMBERS, Head, last_hidden, padded
from curate.lm.halving import in_batches

if TYPE_CHECKING:
    from peft import PeftModel

Parameters = Literal["lora", "lora_b"]

HELD_NUMBERS = {"cpu": 1 << 27, "gpu": 1 << 30}  # entries of gradients held at once: 512 MB, 4 GB
NOTHING_TO_LEARN = "no reply token to take a gradient at"
NOT_FINITE = "the gradient is not finite"


@dataclass(frozen=True)
class Layout:
    """Where each weight lies in a flat gradient: names in order, start and stop of each, and the linear layers they are of."""

    names: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    layers: tuple[torch.nn.Linear, ...]

    @property
    def size(self) -> int:
        """Entries of a gradient."""
        return self.spans[-1][1] if self.spans else 0

    def flat(self, tensors: dict[str, torch.Tensor], device: Any = None) -> torch.Tensor:
        """float32 [size]: tensors by name, such as an optimizer's moments, as a gradient lies. InputError when one is missing."""
        missing = [name for name in self.names if name not in tensors]
        if missing:
            raise InputError(f"the optimizer state has nothing for {missing[0]}")
        return torch.cat([tensors[name].float().flatten() for name in self.names]).to(device)


def layout(model: "PeftModel", parameters: Parameters = "lora") -> Layout:
    """The adapter weights of a model: A and B (`lora`), or B alone (`lora_b`).

    Raises InputError for a model without adapters, and for adapters that have other weights than A and B of linear layers.
    """
    linear = {f"{name}.weight": module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    adapters = sorted(name for name, _ in model.named_parameters() if ".lora_" in name)
    for name in adapters:
        if name not in linear or not (".lora_A." in name or ".lora_B." in name):
            raise InputError(f"gradients are taken at plain low-rank adapters of linear layers, and the model has {name}")
    names = [name for name in adapters if parameters == "lora" or ".lora_B." in name]
    if not names:
        raise InputError("gradients are taken at low-rank adapters, and the model has none")
    if hasattr(model.get_base_model().get_output_embeddings(), "lora_A"):
        raise InputError("gradients are not taken at adapters of the output head")
    stops = np.cumsum([linear[name].weight.numel() for name in names]).tolist()
    return Layout(tuple(names), tuple(zip([0, *stops], stops)), tuple(linear[name] for name in names))


def gradients(
    model: "PeftModel",
    encodings: Encodings,
    parameters: Parameters = "lora",
    *,
    batch_tokens: int = BATCH_TOKENS,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[np.ndarray, torch.Tensor | str]]:
    """Yield (int64 [B] positions, [B, size] their gradients on the model's device) batch by batch, laid out as `layout` says.

    Rows that have none come by themselves, with the reason in place of the tensor: no scored token, a gradient that is not
    finite, out of memory, or a model that fails on the row. Gradients have the adapters' dtype. Nothing is dropped out; the
    model comes back as it was.
    progress  gets the number of tokens just run.

    Raises InputError as `layout`, and for a model that applies an adapted layer to other than all tokens row by row; CurateError
    when the model fails on the first rows one and all.
    """
    where = layout(model, parameters)
    scored = np.array([bool(mask[1:].any()) for mask in encodings.loss_mask], dtype=bool)
    for position in np.flatnonzero(~scored):
        yield np.array([position]), NOTHING_TO_LEARN
    some = np.flatnonzero(scored)
    if not len(some):
        return
    plain = model.get_base_model()
    most = max(1, HELD_NUMBERS["cpu" if plain.device.type == "cpu" else "gpu"] // where.size)
    lengths = encodings.lengths
    cuts = [some[batch] for batch in batches_by_length(lengths[some], batch_tokens)]
    batches = [part for batch in cuts for part in np.split(batch, range(most, len(batch), most))]
    with _frozen(model), torch.enable_grad():
        with torch.no_grad():
            head = Head(plain)
        run = lambda batch: _batch(plain, head, where, encodings.take(batch))  # noqa: E731
        for batch, found in in_batches(batches, lengths, run, progress):
            if isinstance(found, str):
                yield batch, found
                continue
            finite = torch.isfinite(found).all(dim=1)
            for position in batch[~finite.cpu().numpy()]:
                yield np.array([position]), NOT_FINITE
            if bool(finite.any()):
                yield batch[finite.cpu().numpy()], found if bool(finite.all()) else found[finite]


@contextmanager
def _frozen(model: torch.nn.Module) -> Iterator[None]:
    """No weight gathers a gradient of its own, and nothing is dropped out, within."""
    before, training = {weight: weight.requires_grad for weight in model.parameters()}, model.training
    model.eval().requires_grad_(False)
    try:
        yield
    finally:
        for weight, learned in before.items():
            weight.requires_grad_(learned)
        model.train(training)


def _batch(model: Any, head: Head, where: Layout, rows: Encodings) -> torch.Tensor:
    ids, real, scored = (torch.from_numpy(array).to(model.device) for array in padded(rows))
    weight = where.layers[0].weight
    found = torch.zeros(len(rows), where.size, dtype=weight.dtype, device=weight.device)
    hooks = [
        layer.register_forward_hook(_into(found[:, start:stop], ids.shape))
        for layer, (start, stop) in zip(where.layers, where.spans, strict=True)
    ]
    try:
        hidden = last_hidden(model, ids, real)
    finally:
        for hook in hooks:
            hook.remove()
    predicts = torch.roll(scored, -1, dims=1)
    torch.autograd.backward(hidden[predicts], _from_loss(head, hidden[predicts].detach(), ids[scored], scored))
    return found


def _into(found: torch.Tensor, shape: torch.Size) -> Callable[..., torch.Tensor]:
    """A hook on a linear layer that adds the gradient of its weight, row by row, to found [B, out * in]."""

    def hook(layer: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        if output.shape[:-1] != shape and output.shape[:-1] != (shape.numel(),):
            raise InputError("gradients are not taken of models whose adapted layers see some of the tokens, or in another order")
        x = inputs[0].detach().reshape(*shape, -1)
        if not output.requires_grad:
            output.requires_grad_()  # the first layer: nothing below it has a gradient

        def add(g: torch.Tensor) -> None:
            found.add_(torch.bmm(g.reshape(*shape, -1).transpose(1, 2), x).flatten(1).to(found.dtype))

        output.register_hook(add)
        return output

    return hook


def _from_loss(head: Head, states: torch.Tensor, labels: torch.Tensor, scored: torch.Tensor) -> torch.Tensor:
    """[N, H]: the gradient of the rows' mean losses at the states that predict scored tokens; a chunk of logits at a time."""
    counts = scored.sum(dim=1)
    share = torch.repeat_interleave(1 / counts.double(), counts)  # of each token in its row's mean
    gradient = torch.empty_like(states)
    chunk = max(1, HEAD_NUMBERS["cpu" if states.device.type == "cpu" else "gpu"] // head.config.vocab_size)
    for start in range(0, len(labels), chunk):
        part = slice(start, start + chunk)
        state = states[part].requires_grad_()
        losses = torch.nn.functional.cross_entropy(head(state), labels[part], reduction="none")
        [gradient[part]] = torch.autograd.grad((losses * share[part].to(losses.dtype)).sum(), state)
    return gradient
