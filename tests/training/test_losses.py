"""The losses against their definitions, token by token in float64."""

import copy

import numpy as np
import pytest
import torch
from torch.nn.functional import log_softmax
from transformers import AutoModelForCausalLM

from curate.training.config import TrainConfig
from curate.training.losses import token_losses
from curate.training.trainer import train

BATCH = {"batch_tokens": 10_000}  # all rows in one batch


def logp(model, ids):
    """float64 [T, V]: the log-probabilities that each position gives its next token."""
    with torch.no_grad():
        return log_softmax(copy.deepcopy(model).double()(torch.tensor(ids[None].astype(np.int64))).logits[0], dim=-1)


def slow_loss(loss, anchor, model, start, rows, weights=None):
    """sum(w * loss of the token) / sum(w), written out."""
    total = count = 0.0
    for i, (ids, mask) in enumerate(zip(rows.input_ids, rows.loss_mask, strict=True)):
        now, then = logp(model, ids), logp(start, ids)
        for t in range(1, len(ids)):
            weight = float(mask[t]) * (1.0 if weights is None else float(weights[i][t]))
            one = -float(now[t - 1, ids[t]])
            if loss in ("dft", "asft"):
                one = np.exp(-one) * one
            if loss == "asft":  # KL(start || model), over the whole vocabulary
                one += anchor * sum(float(then[t - 1, v].exp() * (then[t - 1, v] - now[t - 1, v])) for v in range(64))
            total, count = total + weight * one, count + weight
    return total / count


def test_by_hand():
    """Three words with probabilities 1/2, 1/4, 1/4; the start has them even."""
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64)).requires_grad_()
    start, label = torch.zeros(1, 3), torch.tensor([0])
    half = np.log(2)
    assert token_losses(logits, label, "nll").item() == pytest.approx(half)
    assert token_losses(logits, label, "dft").item() == pytest.approx(0.5 * half)
    divergence = (np.log(2 / 3) + 2 * np.log(4 / 3)) / 3
    assert token_losses(logits, label, "asft", start, 0.3).item() == pytest.approx(0.5 * half + 0.3 * divergence, abs=1e-6)
    # The gradient of nll is softmax - onehot; DFT scales it by p, and does not differentiate p.
    token_losses(logits, label, "dft").backward()
    assert logits.grad[0].tolist() == pytest.approx([0.5 * -0.5, 0.5 * 0.25, 0.5 * 0.25], abs=1e-6)
    logits.grad = None
    token_losses(logits, label, "asft", start, 0.3).backward()  # that of KL(start || model) is softmax - start
    expected = [-0.25 + 0.3 * (0.5 - 1 / 3), *[0.125 + 0.3 * (0.25 - 1 / 3)] * 2]
    assert logits.grad[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_no_tokens_no_losses():
    for loss in ("nll", "dft", "asft"):
        assert token_losses(torch.zeros(0, 5), torch.zeros(0, dtype=torch.long), loss, torch.zeros(0, 5), 0.1).shape == (0,)


@pytest.mark.parametrize("adapter", ["none", "lora"])
@pytest.mark.parametrize("loss", ["dft", "asft"])
def test_losses_of_a_training_are_those_of_the_definition(make_model, make_encodings, adapter, loss):
    rows = make_encodings(5)
    weights = [np.random.default_rng(i).uniform(0, 2, n) for i, n in enumerate(rows.lengths)]
    anchor = {"anchor": 0.7} if loss == "asft" else {}
    config = TrainConfig(adapter=adapter, loss=loss, **anchor, gradient_accumulation=3, **BATCH)
    run = train(make_model(initializer_range=0.1), None, rows, config, weights=weights)
    start = make_model(initializer_range=0.1)
    assert run.losses == [pytest.approx(slow_loss(loss, 0.7, start, start, rows, weights), abs=1e-6)]


@pytest.mark.parametrize("variant", ["none", "lora", "dora", "pissa"])
def test_the_anchor_is_the_model_that_training_started_from(make_model, make_encodings, variant, tmp_path):
    """At the second step the model has left the start, so the anchor holds something."""
    rows = make_encodings(5)
    adapter = {"adapter": "none"} if variant == "none" else {"lora_variant": variant, "lora_r": 4}
    config = TrainConfig(
        loss="asft", anchor=0.7, learning_rate=0.05, steps=2, save_checkpoints=2, batch_tokens=int(rows.lengths.sum()), **adapter
    )
    run = train(make_model(initializer_range=0.1), None, rows, config, output=tmp_path)
    start, after = make_model(initializer_range=0.1), AutoModelForCausalLM.from_pretrained(run.checkpoints[0])
    assert run.losses[1] == pytest.approx(slow_loss("asft", 0.7, after, start, rows), abs=1e-5)
    assert run.losses[1] != pytest.approx(slow_loss("dft", 0, after, start, rows), abs=1e-4)


@pytest.mark.parametrize("loss", ["dft", "asft"])
def test_gradient_equals_that_of_the_plain_loss(make_model, make_encodings, loss):
    rows = make_encodings(5)
    anchor = {"anchor": 0.7} if loss == "asft" else {}
    config = TrainConfig(adapter="none", loss=loss, **anchor, learning_rate=1e-3, max_grad_norm=0, **BATCH)
    trained = train(make_model(), None, rows, config).model
    plain = make_model()
    total, tokens = torch.zeros(()), 0
    for ids, mask in zip(rows.input_ids, rows.loss_mask, strict=True):
        now = log_softmax(plain(torch.tensor(ids[None].astype(np.int64))).logits[0], dim=-1)
        for t in np.flatnonzero(mask):
            own = now[t - 1, int(ids[t])]
            total = total - own.exp().item() * own
            if loss == "asft":
                base = now[t - 1].detach()
                total = total + 0.7 * (base.exp() * (base - now[t - 1])).sum()
            tokens += 1
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-3 / 2, weight_decay=0.0)  # one step, in warm-up
    (total / tokens).backward()
    optimizer.step()
    for (name, one), other in zip(trained.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=0, msg=name)


def test_another_anchor_is_another_model(make_model, make_encodings, same_weights):
    def run(**settings):
        return train(make_model(), None, make_encodings(6), TrainConfig(steps=3, learning_rate=1e-2, **settings)).model

    none, dft = run(loss="asft", anchor=0), run(loss="dft")
    assert same_weights(none, dft)
    assert not same_weights(run(loss="asft", anchor=1.0), dft) and not same_weights(dft, run())
