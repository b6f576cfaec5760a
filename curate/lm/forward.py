"""One forward pass over encoded conversations: the log-probability of every reply token.

Rows are batched by tokens and length. Only positions that predict a reply token reach the output head, in chunks, so
[tokens x vocabulary] is never held at once; log-softmax is taken in float32 whatever the model's dtype.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from curate.errors import InputError
from curate.lm.batching import batches_by_length
from curate.lm.encodings import Encodings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH_TOKENS = 4096  # tokens in a batch, padding counted
HEAD_CHUNK = 1024  # positions whose logits are held at once


@torch.inference_mode()
def token_logprobs(
    model: "PreTrainedModel",
    encodings: Encodings,
    *,
    batch_tokens: int = BATCH_TOKENS,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (position, float32 log-probabilities [T_reply] in nats) of each row, in batch order.

    A reply token t is predicted from the hidden state at t - 1. `progress` gets the number of tokens just forwarded.
    Raises InputError for a model whose logits are made in a way that is not known here.
    """
    check_head(model)
    lengths = encodings.lengths
    device = model.device
    for batch in batches_by_length(lengths, batch_tokens):
        width = int(lengths[batch].max())
        ids = np.zeros((len(batch), width), dtype=np.int64)
        real = np.zeros((len(batch), width), dtype=np.int64)
        target = np.zeros((len(batch), width), dtype=bool)
        for row, position in enumerate(batch):
            n = int(lengths[position])
            ids[row, :n], real[row, :n], target[row, :n] = encodings.input_ids[position], 1, encodings.loss_mask[position]
        target[:, 0] = False
        ids_t = torch.from_numpy(ids).to(device)
        hidden = last_hidden(model, ids_t, torch.from_numpy(real).to(device))
        predicts = torch.from_numpy(np.roll(target, -1, axis=1)).to(device)
        logp = head_logprobs(model, hidden[predicts], ids_t[torch.from_numpy(target).to(device)])
        pieces = np.split(logp, np.cumsum(target.sum(axis=1))[:-1])
        for position, piece in zip(batch, pieces, strict=True):
            yield int(position), piece
        if progress:
            progress(int(lengths[batch].sum()))


def last_hidden(model: "PreTrainedModel", input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """The states [B, T, H] that the output head reads, final norm included."""
    return model.base_model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state


def head_logits(model: "PreTrainedModel", hidden: torch.Tensor) -> torch.Tensor:
    """float32 logits [N, V] from states [N, H], with what some architectures do to them after the output head."""
    config = model.config.get_text_config()
    logits = model.get_output_embeddings()(hidden).float()
    if scale := getattr(config, "logits_scaling", None):  # Granite
        logits = logits / scale
    if scale := getattr(config, "logit_scale", None):  # Cohere
        logits = logits * scale
    if cap := getattr(config, "final_logit_softcapping", None):  # Gemma
        logits = torch.tanh(logits / cap) * cap
    return logits


def check_head(model: "PreTrainedModel") -> None:
    """Raise InputError unless `head_logits` gives what the model itself does, up to the precision of its numbers."""
    ids = torch.tensor([[1, 2]], device=model.device)
    own = model(input_ids=ids, use_cache=False).logits[0].float()
    ours = head_logits(model, last_hidden(model, ids, torch.ones_like(ids))[0])
    if not torch.allclose(ours, own, rtol=0.05, atol=0.05 * float(own.abs().nan_to_num().max()), equal_nan=True):
        kind = model.config.model_type
        raise InputError(f"models of type {kind} make their logits in a way that is not known here; use another model")


def head_logprobs(model: "PreTrainedModel", hidden: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    """float32 [N]: log-probability of labels [N] from states [N, H], `HEAD_CHUNK` positions at a time."""
    out = np.empty(len(labels), dtype=np.float32)
    for start in range(0, len(labels), HEAD_CHUNK):
        part = slice(start, start + HEAD_CHUNK)
        logits = head_logits(model, hidden[part])
        chosen = logits.gather(1, labels[part, None]).squeeze(1)
        out[part] = (chosen - torch.logsumexp(logits, dim=1)).cpu().numpy()
    return out


def mean_losses(
    model: "PreTrainedModel",
    encodings: Encodings,
    *,
    batch_tokens: int = BATCH_TOKENS,
    progress: Callable[[int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(float64 [n] mean loss in nats per reply token, NaN where a row has none; int64 [n] reply tokens)."""
    mean = np.full(len(encodings), np.nan)
    count = np.zeros(len(encodings), dtype=np.int64)
    for position, logp in token_logprobs(model, encodings, batch_tokens=batch_tokens, progress=progress):
        count[position] = len(logp)
        if len(logp):
            mean[position] = -logp.mean(dtype=np.float64)
    return mean, count
