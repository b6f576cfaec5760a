"""What a token costs: the losses of the literature, and the two models that they look at."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax

IGNORED = -100  # the label of a token that does not count in the loss


def token_losses(
    logits: torch.Tensor, labels: torch.Tensor, loss: str, start: torch.Tensor | None = None, anchor: float = 0.0
) -> torch.Tensor:
    """float32 [n], in nats: what each of n tokens adds to the loss before it is weighted.

    logits  [n, vocabulary], of the model in training; labels int64 [n].
    loss    nll:  -log p, p being the probability of the label.
            dft:  -sg(p) log p, where sg is not differentiated: Dynamic Fine-Tuning, arXiv 2508.05629.
            asft: dft + anchor * KL(start || model): Anchored Supervised Fine-Tuning, arXiv 2509.23753. The direction of the
                  divergence is that of the authors' own code.
    start   [n, vocabulary], logits of the model that training started from, for asft.
    """
    logits = logits.float()
    nll = cross_entropy(logits, labels, reduction="none")
    if loss == "nll":
        return nll
    dft = torch.exp(-nll).detach() * nll
    if loss == "dft":
        return dft
    assert start is not None
    before, now = log_softmax(start.float(), dim=-1), log_softmax(logits, dim=-1)
    return dft + anchor * kl_div(now, before, reduction="none", log_target=True).sum(dim=-1)


@contextlib.contextmanager
def head_sees(model: Any, learned: torch.Tensor) -> Iterator[None]:
    """Within it the output head gets only the states before a token to learn: logits are [1, learned, vocabulary].

    learned bool [B, T - 1], for the tokens from the second on. For a small model the head is most of the work, and for
    a large vocabulary the logits are most of the memory. A hook on the head, rather than a call of its own, so that
    whatever the model does with its logits afterwards (scaling, soft-capping) is still done.
    """
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, states: (states[0][:, :-1][learned][None],))
    try:
        yield
    finally:
        hook.remove()


@contextlib.contextmanager
def without_adapters(model: Any) -> Iterator[Any]:
    """Within it the model is the one that its adapters were put on, and drops nothing out."""
    training = model.training
    model.eval()
    try:
        with model.disable_adapter():
            yield model
    finally:
        model.train(training)
