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
from typing import TYPE_CHECKING, Any, Literal, Protocol

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
HALF_SCALE = 1024.0  # of the loss of a model in float16, whose smallest gradients would vanish
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


class Folding(Protocol):
    """What is kept of gradients instead of their entries, a layer at a time, so that no whole gradient is ever held."""

    dimensions: int

    def add(self, found: torch.Tensor, part: torch.Tensor, start: int) -> None:
        """Add to found float32 [B, dimensions] what the entries from `start` on are worth: part [B, n], each once."""
        ...


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
    fold: Folding | None = None,
    *,
    batch_tokens: int = BATCH_TOKENS,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[np.ndarray, torch.Tensor | str]]:
    """Yield (int64 [B] positions, [B, size] their gradients on the model's device) batch by batch, laid out as `layout` says.

    With `fold`, what it makes of them instead: float32 [B, dimensions].

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
    held = where.size if fold is None else fold.dimensions + max(stop - start for start, stop in where.spans)
    most = max(1, HELD_NUMBERS["cpu" if plain.device.type == "cpu" else "gpu"] // held)
    lengths = encodings.lengths
    cuts = [some[batch] for batch in batches_by_length(lengths[some], batch_tokens)]
    batches = [part for batch in cuts for part in np.split(batch, range(most, len(batch), most))]
    with _frozen(model), torch.enable_grad():
        with torch.no_grad():
            head = Head(plain)
        run = lambda batch: _batch(plain, head, where, encodings.take(batch), fold)  # noqa: E731
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


def _batch(model: Any, head: Head, where: Layout, rows: Encodings, fold: Folding | None) -> torch.Tensor:
    ids, real, scored = (torch.from_numpy(array).to(model.device) for array in padded(rows))
    weight = where.layers[0].weight
    if fold is None:
        found = torch.empty(len(rows), where.size, dtype=weight.dtype, device=weight.device)
    else:
        found = torch.zeros(len(rows), fold.dimensions, device=weight.device)
    layers = [_Layer(found, span, ids.shape, fold) for span in where.spans]
    hooks = [layer.register_forward_hook(own.hook) for layer, own in zip(where.layers, layers, strict=True)]
    try:
        hidden = last_hidden(model, ids, real)
    finally:
        for hook in hooks:
            hook.remove()
    scale = HALF_SCALE if hidden.dtype == torch.float16 else 1.0
    for own in layers:
        own.scale = scale
    states = hidden[torch.roll(scored, -1, dims=1)]
    torch.autograd.backward(states, _from_loss(head, states.detach(), ids[scored], scored, scale))
    for own in layers:
        own.finish()
    return found


class _Layer:
    """The gradient of a linear layer's weight, row by row, as the backward pass makes it."""

    def __init__(self, found: torch.Tensor, span: tuple[int, int], shape: torch.Size, fold: Folding | None) -> None:
        self.found, self.span, self.shape, self.fold = found, span, shape, fold
        self.scale = 1.0
        self.total: torch.Tensor | None = None
        self.waits, self.done = 0, False  # for so many of its calls; whether it was put where it belongs

    def hook(self, layer: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        """Of the layer's forward."""
        if output.shape[:-1] != self.shape and output.shape[:-1] != (self.shape.numel(),):
            raise InputError("gradients are not taken of models whose adapted layers see some of the tokens, or in another order")
        x = inputs[0].detach().reshape(*self.shape, -1)
        if not output.requires_grad:
            output.requires_grad_()  # the first layer: nothing below it has a gradient
        self.waits += 1
        output.register_hook(lambda g: self._add(g, x))
        return output

    def _add(self, g: torch.Tensor, x: torch.Tensor) -> None:
        part = torch.bmm(g.reshape(*self.shape, -1).transpose(1, 2), x).flatten(1)
        self.total = part if self.total is None else self.total + part  # a layer may be called twice
        self.waits -= 1
        if not self.waits:
            self.finish()

    def finish(self) -> None:
        """Put what was gathered where it belongs, once; 0 of a layer that the loss does not depend on."""
        if self.done:
            return
        start, stop = self.span
        part = self.found.new_zeros(len(self.found), stop - start) if self.total is None else self.total
        part = part if self.scale == 1.0 else part.to(self.found.dtype) / self.scale
        if self.fold is None:
            self.found[:, start:stop] = part
        else:
            self.fold.add(self.found, part, start)
        self.total, self.done = None, True


def _from_loss(head: Head, states: torch.Tensor, labels: torch.Tensor, scored: torch.Tensor, scale: float) -> torch.Tensor:
    """[N, H]: the gradient of `scale` times the rows' mean losses at the states [N, H] that predict scored tokens.

    A chunk of logits is held at a time.
    """
    counts = scored.sum(dim=1)
    share = torch.repeat_interleave(scale / counts.double(), counts)  # of each token in its row's mean
    gradient = torch.empty_like(states)
    chunk = max(1, HEAD_NUMBERS["cpu" if states.device.type == "cpu" else "gpu"] // head.config.vocab_size)
    for start in range(0, len(labels), chunk):
        part = slice(start, start + chunk)
        state = states[part].requires_grad_()
        losses = torch.nn.functional.cross_entropy(head(state), labels[part], reduction="none")
        [gradient[part]] = torch.autograd.grad((losses * share[part].to(losses.dtype)).sum(), state)
    return gradient
