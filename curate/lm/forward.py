"""One forward pass over encoded conversations, from which every observable is made.

Rows are batched by tokens and length. Only positions that predict a scored token reach the output head, in chunks, so
[tokens x vocabulary] is never held at once; log-softmax is taken in float32 whatever the model's dtype.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from curate.errors import CurateError, InputError
from curate.lm.batching import batches_by_length
from curate.lm.encodings import Encodings
from curate.lm.halving import in_batches
from curate.lm.head_gradient import of_row
from curate.lm.observables import PER_ROW, PER_TOKEN, POOLED, Trace

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH_TOKENS = 4096  # tokens in a batch, padding counted
HEAD_NUMBERS = {"cpu": 1 << 22, "gpu": 1 << 26}  # logits held at once: 16 MB, 256 MB
BLOCK = 128  # entries of a distribution that are looked through at once for the two largest

Side = Literal["right", "left"]


@torch.inference_mode()
def traces(
    model: "PreTrainedModel",
    encodings: Encodings,
    needs: Collection[str] = ("logp",),
    *,
    batch_tokens: int = BATCH_TOKENS,
    padding_side: Side = "right",
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[int, Trace | str]]:
    """Yield (position, trace) of each row, in batch order; in place of a trace the reason why a row has none.

    needs     names in `PER_TOKEN` (float32 [scored tokens], in nats where they are logarithms), `POOLED` (float32 [H]) and
              `PER_ROW` (float32 [1], [0] where nothing is scored).
    progress  gets the number of tokens just forwarded.

    A scored token t is predicted from the state at t - 1. A batch that does not fit into memory, or on which the model
    fails, is halved, down to the row at fault. Raises InputError for a model whose logits are made in a way that is not
    known here, CurateError when the model fails on the first rows one and all.
    """
    tokens = [name for name in PER_TOKEN if name in needs]
    pooled = [name for name in POOLED if name in needs]
    single = [name for name in PER_ROW if name in needs]
    head = Head(model) if tokens or single else None
    lengths = encodings.lengths
    batches = batches_by_length(lengths, batch_tokens)

    def run(batch: np.ndarray) -> list[Trace]:
        return _batch(model, head, encodings.take(batch), tokens, pooled, padding_side, single)

    for batch, found in in_batches(batches, lengths, run, progress):
        each: list[Trace] | list[str] = [found] if isinstance(found, str) else found
        yield from zip(batch.tolist(), each, strict=True)


def _batch(
    model: "PreTrainedModel",
    head: "Head | None",
    rows: Encodings,
    tokens: list[str],
    pooled: list[str],
    side: Side,
    single: Collection[str] = (),
) -> list[Trace]:
    ids, real, scored = padded(rows, side)
    ids_t, real_t = torch.from_numpy(ids).to(model.device), torch.from_numpy(real).to(model.device)
    hidden = last_hidden(model, ids_t, real_t)
    arrays = {name: _pool(hidden, real_t, name) for name in pooled}
    if head is not None:
        predicts = torch.from_numpy(np.roll(scored, -1, axis=1)).to(model.device)
        states, labels = hidden[predicts], ids_t[torch.from_numpy(scored).to(model.device)]
        cuts = np.cumsum(scored.sum(axis=1))[:-1]
        if tokens:
            arrays |= {name: np.split(values, cuts) for name, values in head.statistics(states, labels, tokens).items()}
        if single:
            parts = zip(states.tensor_split(cuts.tolist()), labels.tensor_split(cuts.tolist()), strict=True)
            each = [_step(head, *part) for part in parts]
            arrays |= {name: [row[PER_ROW.index(name)] for row in each] for name in single}
    return [{name: values[row] for name, values in arrays.items()} for row in range(len(rows))]


def _step(head: "Head", states: torch.Tensor, labels: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """`PER_ROW` of a row: what a small step on the head would do, per unit of its rate."""
    if not len(labels):
        return np.zeros(0, np.float32), np.zeros(0, np.float32)
    found = of_row(head, states, labels)
    moved = found.squared**0.5
    shorter = found.along / found.norm if found.norm else -moved  # a head of zeros only gets longer
    return np.array([shorter], np.float32), np.array([moved], np.float32)


def padded(rows: Encodings, side: Side = "right") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int64 [B, T] ids, int64 [B, T] 1 where they are not padding, bool [B, T] True for tokens that are scored."""
    lengths = rows.lengths
    width = int(lengths.max())
    ids = np.zeros((len(rows), width), dtype=np.int64)
    real = np.zeros((len(rows), width), dtype=np.int64)
    scored = np.zeros((len(rows), width), dtype=bool)
    for row, n in enumerate(lengths):
        place = slice(0, n) if side == "right" else slice(width - n, width)
        ids[row, place], real[row, place] = rows.input_ids[row], 1
        scored[row, place] = rows.loss_mask[row]
        scored[row, place.start] = False
    return ids, real, scored


def _pool(hidden: torch.Tensor, real: torch.Tensor, how: str) -> list[np.ndarray]:
    """float32 [H] per row from states [B, T, H]; padding (real [B, T] is 0) has no weight."""
    if how == "hidden_last":
        position = torch.arange(real.shape[1], device=real.device)
        weight = (position == (real * position).argmax(dim=1, keepdim=True)).float()
    else:
        weight = (real.cumsum(dim=1) * real if how == "hidden_weighted" else real).float()
    weight = weight / weight.sum(dim=1, keepdim=True)
    # A product with 0 would carry a state that is not finite out of the padding.
    states = hidden.float().masked_fill(real[..., None] == 0, 0.0)
    return list(torch.einsum("bt,bth->bh", weight, states).cpu().numpy())


def last_hidden(model: "PreTrainedModel", input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """The states [B, T, H] that the output head reads, final norm included. Padding may be on either side."""
    masked = {}
    if not bool(attention_mask[:, 0].all()):  # on the left, where models do not count positions by themselves
        masked = {"attention_mask": attention_mask, "position_ids": (attention_mask.cumsum(dim=1) - 1).clamp(min=0)}
    elif getattr(model.config.get_text_config(), "use_bidirectional_attention", False):
        masked = {"attention_mask": attention_mask}
    # Else no token sees what is right of it, and without a mask attention does half the work.
    return model.base_model(input_ids=input_ids, use_cache=False, **masked).last_hidden_state


class Head:
    """The output head of a model: logits [N, V] from states [N, H], float32 (of a model in float64 float64).

    Of a half-precision model the product is taken in float32, for logits rounded to bfloat16 are off by hundredths; the
    architecture's own scaling and capping of logits follow. Raises InputError for a model whose logits come about in
    another way.
    """

    def __init__(self, model: "PreTrainedModel") -> None:
        self.config = model.config.get_text_config()
        self.module = model.get_output_embeddings()
        self.whole = None
        if isinstance(self.module, torch.nn.Linear) and self.module.weight.dtype in (torch.bfloat16, torch.float16):
            bias = self.module.bias
            self.whole = self.module.weight.float(), None if bias is None else bias.float()
        self._check(model)

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        if self.whole is None:
            logits = self.module(hidden)
            logits = logits if logits.dtype == torch.float64 else logits.float()
        else:
            with _exact_for_half():
                logits = torch.nn.functional.linear(hidden.float(), *self.whole)
        if scale := getattr(self.config, "logits_scaling", None):  # Granite
            logits = logits / scale
        if scale := getattr(self.config, "logit_scale", None):  # Cohere
            logits = logits * scale
        if cap := getattr(self.config, "final_logit_softcapping", None):  # Gemma
            logits = torch.tanh(logits / cap) * cap
        return logits

    def statistics(self, hidden: torch.Tensor, labels: torch.Tensor, names: Collection[str]) -> dict[str, np.ndarray]:
        """float32 [N] for each name in `PER_TOKEN`, of labels [N] from states [N, H]; a chunk of logits is held at a time."""
        out = {name: np.empty(len(labels), dtype=np.float32) for name in names}
        chunk = max(1, HEAD_NUMBERS["cpu" if hidden.device.type == "cpu" else "gpu"] // self.config.vocab_size)
        for start in range(0, len(labels), chunk):
            part = slice(start, start + chunk)
            for name, values in token_statistics(self(hidden[part]), labels[part], names).items():
                out[name][part] = values.cpu().numpy()
        return out

    @cached_property
    def norm(self) -> float:
        """The Frobenius norm of the weights."""
        return float(self.module.weight.norm(dtype=torch.float64))

    def _check(self, model: "PreTrainedModel") -> None:
        """Ours must be the model's own logits, up to the precision of its numbers."""
        ids = torch.tensor([[1, 2]], device=model.device)
        own = model(input_ids=ids, use_cache=False).logits[0].float()
        ours = self(last_hidden(model, ids, torch.ones_like(ids))[0]).float()
        if not torch.allclose(ours, own, rtol=0.05, atol=0.05 * float(own.abs().nan_to_num().max()), equal_nan=True):
            kind = model.config.model_type
            raise InputError(f"models of type {kind} make their logits in a way that is not known here; use another model")


@contextmanager
def _exact_for_half() -> Iterator[None]:
    """TF32 holds half-precision numbers without loss and adds them up in float32: on a GPU the exact product at full speed."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def token_statistics(logits: torch.Tensor, labels: torch.Tensor, names: Collection[str]) -> dict[str, torch.Tensor]:
    """Each of the names in `PER_TOKEN`, float32 [N], from float32 logits [N, V] and labels [N]."""
    p = torch.softmax(logits, dim=1)
    # The normaliser by way of the largest: a logsumexp would go over all of them again.
    largest, best = logits.amax(dim=1), p.amax(dim=1).log()  # so log p is logits - largest + best
    found = {}
    if "logp" in names:
        found["logp"] = logits.gather(1, labels[:, None]).squeeze(1) - largest + best
    if "entropy" in names:
        mean = torch.linalg.vecdot(p, logits)
        if not bool(mean.isfinite().all()):  # a logit of minus infinity has p = 0 and must add 0
            mean = torch.linalg.vecdot(p, logits.clamp(min=-1e30))
        found["entropy"] = largest - mean - best
    if "margin" in names:
        first, second = two_largest(p).unbind(1)
        found["margin"] = first - second
    if "el2n" in names:  # of the difference itself: the expanded square loses all digits where p is near 1
        found["el2n"] = p.scatter_add_(1, labels[:, None], torch.full_like(p[:, :1], -1.0)).norm(dim=1)
    return found


def two_largest(values: torch.Tensor) -> torch.Tensor:
    """[N, 2] of [N, V], the largest first: of the block of the largest, the largest of the other blocks, and the rest.

    So nearly all of it is a plain maximum, which is many times as fast as a search for two.
    """
    blocks = values.shape[1] // BLOCK
    if blocks < 2:
        return values.topk(2, dim=1).values
    whole = values[:, : blocks * BLOCK].unflatten(1, (blocks, BLOCK))
    largest, where = whole.amax(dim=2).topk(2, dim=1)
    inside = whole.gather(1, where[:, :1, None].expand(-1, -1, BLOCK)).squeeze(1)
    return torch.cat([inside, largest[:, 1:], values[:, blocks * BLOCK :]], dim=1).topk(2, dim=1).values


def mean_losses(
    model: "PreTrainedModel",
    encodings: Encodings,
    *,
    batch_tokens: int = BATCH_TOKENS,
    progress: Callable[[int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(float64 [n] mean loss in nats per reply token, NaN where a row has none; int64 [n] reply tokens).

    Raises CurateError where the model fails on a row.
    """
    mean = np.full(len(encodings), np.nan)
    count = np.zeros(len(encodings), dtype=np.int64)
    for position, trace in traces(model, encodings, batch_tokens=batch_tokens, progress=progress):
        if isinstance(trace, str):
            raise CurateError(f"row {encodings.row_ids[position]}: {trace}")
        count[position] = len(trace["logp"])
        if count[position]:
            mean[position] = -trace["logp"].mean(dtype=np.float64)
    return mean, count
